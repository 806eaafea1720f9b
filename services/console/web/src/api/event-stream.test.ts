import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  EventStream,
  MOST_EACH_SECOND,
  PAUSE_MILLISECONDS,
  queryOf,
  type Source,
  spaced,
} from "./event-stream";

class FakeSource implements Source {
  readyState = 0;
  isClosed = false;
  readonly #listeners = new Map<string, (event: MessageEvent<string>) => void>();
  addEventListener(type: string, listener: (event: MessageEvent<string>) => void) {
    this.#listeners.set(type, listener);
  }
  close() {
    this.isClosed = true;
  }
  happen(type: string, data = "") {
    this.#listeners.get(type)?.({ data } as MessageEvent<string>);
  }
}

const EVENT = JSON.stringify({ type: "delivered", timestamp: "t", data: { message: "m" } });

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function made() {
  const sources: FakeSource[] = [];
  const tab = { isSeen: true };
  const stream = new EventStream(
    () => {
      const source = new FakeSource();
      sources.push(source);
      return source;
    },
    () => tab.isSeen,
  );
  const listener = { hear: vi.fn(), missed: vi.fn(), changed: vi.fn() };
  return { sources, tab, stream, listener, last: () => sources.at(-1) as FakeSource };
}

describe("one connection for all who listen", () => {
  test("it is opened by the first, shared, and closed after the last", () => {
    const { sources, stream, listener, last } = made();
    const stops = [stream.listen(listener), stream.listen({ ...listener, hear: vi.fn() })];
    expect(sources).toHaveLength(1);
    last().happen("open");
    expect(listener.changed).toHaveBeenLastCalledWith(true);
    expect(listener.missed, "what happened before it stood").toHaveBeenCalled();
    last().happen("message", EVENT);
    expect(listener.hear).toHaveBeenCalledExactlyOnceWith(JSON.parse(EVENT));
    for (const stop of stops) stop();
    expect(last().isClosed).toBe(true);
  });

  test("a hidden tab has none", () => {
    const { sources, tab, stream, listener, last } = made();
    stream.listen(listener);
    last().happen("open");
    tab.isSeen = false;
    stream.look();
    expect(last().isClosed).toBe(true);
    expect(listener.changed).toHaveBeenLastCalledWith(false);
    last().happen("message", EVENT);
    expect(listener.hear).not.toHaveBeenCalled();
    tab.isSeen = true;
    stream.look();
    expect(sources).toHaveLength(2);
  });

  test("a break is the browser's to mend; a refusal, an end and a flood are rested from", () => {
    const { sources, stream, listener, last } = made();
    stream.listen(listener);
    last().happen("open");
    last().happen("error");
    expect(listener.changed).toHaveBeenLastCalledWith(false);
    expect(last().isClosed).toBe(false);
    last().happen("open");
    last().happen("gap");
    expect(listener.missed).toHaveBeenCalledTimes(3);
    const ends = [
      () => {
        last().readyState = 2;
        last().happen("error");
      },
      () => last().happen("end", "{}"),
      () => {
        for (let sent = 0; sent <= MOST_EACH_SECOND; sent += 1) last().happen("message", EVENT);
      },
    ];
    for (const [number, end] of ends.entries()) {
      last().happen("open");
      end();
      expect(last().isClosed).toBe(true);
      expect(listener.changed).toHaveBeenLastCalledWith(false);
      vi.advanceTimersByTime(PAUSE_MILLISECONDS - 1);
      expect(sources).toHaveLength(number + 1);
      vi.advanceTimersByTime(1);
      expect(sources).toHaveLength(number + 2);
    }
  });
});

test("a wish has one query", () => {
  expect(queryOf({ types: ["queued", "held"] })).toBe(queryOf({ types: ["held", "queued"] }));
  expect(queryOf({ message: "m" })).toBe("message=m");
});

test("many wishes are one question, and not again within five seconds", () => {
  const run = vi.fn();
  const { want, stop } = spaced(run);
  want();
  want();
  vi.advanceTimersByTime(1000);
  expect(run).toHaveBeenCalledTimes(1);
  want();
  vi.advanceTimersByTime(4999);
  expect(run).toHaveBeenCalledTimes(1);
  vi.advanceTimersByTime(1);
  expect(run).toHaveBeenCalledTimes(2);
  want();
  stop();
  vi.advanceTimersByTime(60_000);
  expect(run).toHaveBeenCalledTimes(2);
});
