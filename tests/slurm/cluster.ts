/**
 * A Slurm cluster of two nodes on loopback: Debian's slurmctld, slurmd and munged with files, key, socket and
 * ports of their own, so that no service of the system is touched.
 *
 * @module
 */
import { join } from "node:path";

/** Programs that the cluster is made of; Debian has them in slurmctld, slurmd, slurm-client and munge. */
const PROGRAMS = ["munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel"];

/** Path of a program; null if it is not installed. */
function pathOf(program: string): string | null {
  for (const folder of ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]) {
    try {
      if (Deno.statSync(join(folder, program)).isFile) return join(folder, program);
    } catch {
      // Not there.
    }
  }
  return null;
}

/** Programs that are missing on this machine. */
export function missingPrograms(): string[] {
  return PROGRAMS.filter((program) => pathOf(program) === null);
}

/** Waits until something has come about. */
export async function until(
  what: string,
  done: () => boolean | Promise<boolean>,
  seconds = 300,
): Promise<void> {
  const end = performance.now() + 1000 * seconds;
  while (!await done()) {
    if (performance.now() > end) throw new Error(`waited ${seconds} s in vain: ${what}`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

/** A port that nobody listens on. */
function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

/** Nodes of the cluster, of one processor core each. */
export const NODES = ["n1", "n2"];

/** A cluster under way. */
export class Cluster implements AsyncDisposable {
  /** Variables that the clients of the cluster need. */
  readonly env: Readonly<Record<string, string>>;
  readonly #folder: string;
  readonly #daemons = new Map<string, Deno.ChildProcess>();

  private constructor(folder: string) {
    this.#folder = folder;
    this.env = { SLURM_CONF: join(folder, "slurm.conf") };
  }

  /** Starts the cluster, and waits until its nodes are idle. */
  static async start(): Promise<Cluster> {
    const folder = await Deno.makeTempDir({ prefix: "samlora-slurm-" });
    const cluster = new Cluster(folder);
    try {
      await cluster.#configure();
      cluster.#startMunge();
      const socket = join(folder, "munge.socket");
      await until("munged", () => Deno.stat(socket).then(() => true, () => false), 20);
      await cluster.startController();
      for (const node of NODES) cluster.startNode(node);
      await until("idle nodes", async () => {
        const { code, output } = await cluster.run("sinfo", "--noheader", "--format=%T %D");
        return code === 0 && output === `idle ${NODES.length}`;
      }, 30);
    } catch (error) {
      const log = await Deno.readTextFile(join(folder, "slurmctld.log")).catch(() => "");
      await cluster[Symbol.asyncDispose]();
      throw new Error(`${(error as Error).message}\n${log.split("\n").slice(-20).join("\n")}`);
    }
    return cluster;
  }

  async #configure(): Promise<void> {
    const at = (name: string) => join(this.#folder, name);
    await Deno.mkdir(at("state"));
    await Deno.writeFile(at("munge.key"), crypto.getRandomValues(new Uint8Array(128)), {
      mode: 0o600,
    });
    const user = Deno.uid() === 0 ? "root" : (await this.run("id", "-un")).output;
    const ports = NODES.map(() => freePort());
    await Deno.writeTextFile(
      at("slurm.conf"),
      [
        "ClusterName=samlora",
        `SlurmctldHost=${Deno.hostname()}(127.0.0.1)`,
        `SlurmctldPort=${freePort()}`,
        `SlurmUser=${user}`,
        `SlurmdUser=${user}`,
        // Without the last a requeued job waits for two minutes.
        `AuthInfo=socket=${at("munge.socket")},cred_expire=5`,
        "AuthType=auth/munge",
        "CredType=cred/munge",
        `StateSaveLocation=${at("state")}`,
        `SlurmdSpoolDir=${at("spool-%n")}`,
        `SlurmctldPidFile=${at("slurmctld.pid")}`,
        `SlurmdPidFile=${at("slurmd-%n.pid")}`,
        `SlurmctldLogFile=${at("slurmctld.log")}`,
        `SlurmdLogFile=${at("slurmd-%n.log")}`,
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "JobAcctGatherType=jobacct_gather/none",
        "AccountingStorageType=accounting_storage/none",
        "MpiDefault=none",
        "SwitchType=switch/none",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_Core",
        "SchedulerType=sched/backfill",
        "SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0,batch_sched_delay=0",
        "ReturnToService=1",
        "KillWait=15",
        "InactiveLimit=0",
        "JobRequeue=1",
        ...NODES.map((node, i) =>
          `NodeName=${node} NodeHostname=${Deno.hostname()} NodeAddr=127.0.0.1 Port=${
            ports[i]
          } CPUs=1 State=UNKNOWN`
        ),
        "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP",
        "",
      ].join("\n"),
    );
  }

  #startMunge(): void {
    const at = (name: string) => join(this.#folder, name);
    this.#start("munged", "munged", [
      "--foreground",
      "--force",
      `--socket=${at("munge.socket")}`,
      `--key-file=${at("munge.key")}`,
      `--pid-file=${at("munged.pid")}`,
      `--log-file=${at("munged.log")}`,
      `--seed-file=${at("munged.seed")}`,
      "--num-threads=2",
    ]);
  }

  /** Starts the controller, and waits until it answers. */
  async startController(): Promise<void> {
    this.#start("slurmctld", "slurmctld", ["-D"]);
    await until("the controller", async () => (await this.run("scontrol", "ping")).code === 0, 30);
  }

  /** Starts the daemon of a node. */
  startNode(node: string): void {
    this.#start(node, "slurmd", ["-D", "-N", node]);
  }

  #start(name: string, program: string, args: readonly string[]): void {
    const process = new Deno.Command(pathOf(program)!, {
      args: [...args],
      env: { ...this.env },
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    this.#daemons.set(name, process);
  }

  /** Ends the controller, which saves its state on SIGTERM, or another daemon. */
  async end(name: string, signal: Deno.Signal = "SIGTERM"): Promise<void> {
    const process = this.#daemons.get(name)!;
    try {
      process.kill(signal);
    } catch {
      // It has ended by itself.
    }
    await process.status;
  }

  /** Runs a client of the cluster. */
  async run(program: string, ...args: string[]): Promise<{ code: number; output: string }> {
    const { code, stdout, stderr } = await new Deno.Command(program, {
      args,
      env: { ...this.env },
    }).output();
    const text = new TextDecoder();
    return { code, output: (text.decode(stdout) + text.decode(stderr)).trim() };
  }

  /** Starts a client that need not end by itself. */
  begin(program: string, ...args: string[]): Deno.ChildProcess {
    const quiet = { stdin: "null", stdout: "null", stderr: "null" } as const;
    return new Deno.Command(program, { args, env: { ...this.env }, ...quiet }).spawn();
  }

  /** Runs a client that must succeed; its output. */
  async succeed(program: string, ...args: string[]): Promise<string> {
    const { code, output } = await this.run(program, ...args);
    if (code !== 0) throw new Error(`${program} ${args.join(" ")}: ${output}`);
    return output;
  }

  /** Jobs that wait or run, a line each. */
  async queue(): Promise<string[]> {
    const output = await this.succeed("squeue", "--noheader", "--array", "--format=%i %T %r %N");
    return output === "" ? [] : output.split("\n");
  }

  /** Ends the cluster with its jobs. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#daemons.has("slurmctld")) {
      await this.run("scancel", "--quiet", "--user", Deno.env.get("USER") ?? "root");
      await until("no job", async () => (await this.queue()).length === 0, 20).catch(() => {});
    }
    for (const name of [...NODES, "slurmctld", "munged"]) {
      if (this.#daemons.has(name)) await this.end(name, "SIGKILL");
    }
    await Deno.remove(this.#folder, { recursive: true }).catch(() => {});
  }
}
