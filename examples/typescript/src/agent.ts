/** An agent in TypeScript that reports its run: it is asked for a program, and tries three. */

import { spawnSync } from "node:child_process";

import { Kafka, logLevel } from "kafkajs";

import { producerOf, RunRecorder, type Outcome } from "./recorder.js";

const TASK = "Print the sum of the first 100 square numbers.";
// What a model would write; each try knows what became of the one before it.
const PLAN = "Add up the squares from 1 to 100.";
const SUM = "let sum = 0; for (let n = 1; n <= 100; n++) sum += n * n; console.log(sum)";
const TRIES = [SUM.replace("(let", "let"), SUM.replace("<= 100", "< 100"), SUM];

/** Runs a program in a process of its own. A model's code belongs in a sandbox. */
function run(code: string): Outcome {
  const done = spawnSync(process.execPath, ["--eval", code], { encoding: "utf8", timeout: 30_000 });
  if (done.error) {
    return { compiled: true, ran: false, error: String(done.error), fault: "infrastructure" };
  }
  if (done.status !== 0) {
    return { compiled: !done.stderr.includes("SyntaxError"), ran: false, error: done.stderr };
  }
  return { compiled: true, ran: true, score: done.stdout.trim() === "338350" ? 1 : 0 };
}

const servers = process.env["PAIRSTREAM_BOOTSTRAP_SERVERS"] ?? "127.0.0.1:9092";
const prefix = process.env["PAIRSTREAM_TOPIC_PREFIX"] ?? "";
const producer = producerOf(
  new Kafka({ clientId: "typescript-agent", brokers: servers.split(","), logLevel: logLevel.ERROR }),
);
await producer.connect();
try {
  const recorder = await RunRecorder.start(
    producer,
    {
      system_plist: [{ role: "system", content: "You write programs." }],
      basic_env_plist: [],
      special_egc_req_plist: [],
      strat_code_req_plist: [{ role: "user", content: TASK }],
    },
    { agent_id: "typescript", task_id: "squares" },
    prefix,
  );
  const strategy = await recorder.propose(PLAN);
  for (const code of TRIES) {
    await strategy.attempt(code, run(code));
  }
  await recorder.finish();
  console.log(`${recorder.runId}  see: pairstream explain ${recorder.runId}`);
} finally {
  await producer.disconnect();
}
