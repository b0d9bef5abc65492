/** Records one run of an agent, event by event, as pairstream's contract wants it. */

import { randomUUID } from "node:crypto";

import { Partitioners, type Kafka, type Producer } from "kafkajs";

import type { CodeAttempted, Prompts, RunFinished, RunStarted, StrategyProposed } from "./events.js";

type Event = RunStarted | StrategyProposed | CodeAttempted | RunFinished;

/** What an event says of itself; the recorder adds the run, the time and an id. */
type Said<E extends Event> = Omit<E, "run_id" | "time" | "event_id">;

export interface Outcome {
  compiled: boolean;
  ran: boolean;
  /** 0 or more; above 0 only for code that ran. */
  score?: number;
  error?: string;
  /** Set where the attempt tells nothing about the agent. */
  fault?: "infrastructure" | "cancelled";
}

/**
 * Keys are placed by murmur2, as all of pairstream's clients place them. One request at a time keeps
 * the order of events when one is sent again; that it may stand twice then changes nothing.
 */
export function producerOf(kafka: Kafka): Producer {
  return kafka.producer({
    createPartitioner: Partitioners.DefaultPartitioner,
    maxInFlightRequests: 1,
    allowAutoTopicCreation: false,
  });
}

export class RunRecorder {
  readonly runId: string;
  private strategies = 0;

  private constructor(
    private readonly producer: Producer,
    private readonly topic: string,
    runId: string,
  ) {
    this.runId = runId;
  }

  static async start(
    producer: Producer,
    prompts: Prompts,
    who: { agent_id?: string; task_id?: string; policy_id?: string; run_id?: string } = {},
    topicPrefix = "",
  ): Promise<RunRecorder> {
    const { run_id, ...named } = who;
    const topic = `${topicPrefix}pairstream.run-events.v1`;
    const run = new RunRecorder(producer, topic, run_id ?? randomUUID());
    await run.send<RunStarted>({ type: "run.started", prompts, ...named });
    return run;
  }

  /** A plan in prose; the code that is written for it is reported through what this returns. */
  async propose(strategy: string): Promise<Strategy> {
    this.strategies += 1;
    const strategy_id = `s-${this.strategies}`;
    await this.send<StrategyProposed>({ type: "strategy.proposed", strategy_id, strategy });
    return new Strategy(strategy_id, (said) => this.send<CodeAttempted>(said));
  }

  /** Settles the run: nothing may be recorded after it. */
  async finish(): Promise<void> {
    await this.send<RunFinished>({ type: "run.finished" });
  }

  private async send<E extends Event>(said: Said<E>): Promise<void> {
    const event = {
      ...said,
      run_id: this.runId,
      time: new Date().toISOString(),
      event_id: randomUUID(),
    };
    await this.producer.send({
      topic: this.topic,
      acks: -1, // all in-sync replicas
      messages: [{ key: this.runId, value: JSON.stringify(event) }],
    });
  }
}

export class Strategy {
  private attempts = 0;

  constructor(
    readonly strategyId: string,
    private readonly send: (said: Said<CodeAttempted>) => Promise<void>,
  ) {}

  async attempt(code: string, outcome: Outcome): Promise<void> {
    this.attempts += 1;
    const { compiled, ran, score = 0, error, fault } = outcome;
    await this.send({
      type: "code.attempted",
      strategy_id: this.strategyId,
      attempt: this.attempts,
      code,
      compiled,
      ran,
      score,
      ...(error === undefined ? {} : { error }),
      ...(fault === undefined ? {} : { fault }),
    });
  }
}
