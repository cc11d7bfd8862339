// Builds MobileSAM with LoRA-16 at side 256, reads the first loss and ends: what main.ts times as a start.
import { Gpu } from "../../lib/gpu/gpu.ts";
import { Training } from "./mobile_sam.ts";

using gpu = await Gpu.open();
using training = await Training.open(gpu, { kind: "lora", side: 256, batch: 4 });
using loss = training.step();
console.log(await loss.item());
