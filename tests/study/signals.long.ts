import { testWaysToStop } from "./ways_to_stop.ts";

testWaysToStop(["SIGHUP to ./run", "SIGKILL to ./run", "closing the terminal"]);
