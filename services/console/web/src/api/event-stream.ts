/** Events of messages as they happen (server-sent events, ADR 49). No React here. */

export interface LiveEvent {
  type: string;
  timestamp: string;
  data: Readonly<Record<string, unknown>>;
}

/** Those whose events are wanted: of one message, or of some types. */
export interface Wish {
  message?: string;
  types?: readonly string[];
}

export interface Listener {
  hear: (event: LiveEvent) => void;
  /** Events may have been missed: ask again for what is shown. */
  missed: () => void;
  /** The connection stands, or it does not any more. */
  changed: (isLive: boolean) => void;
}

/** What is used of an EventSource. */
export interface Source {
  readyState: number;
  addEventListener: (type: string, listener: (event: MessageEvent<string>) => void) => void;
  close: () => void;
}

const CLOSED = 2;
/** How long it stays closed after a refusal, or where there are more events than a page can show. */
export const PAUSE_MILLISECONDS = 60_000;
export const MOST_EACH_SECOND = 100;

/** One connection for all who listen to it, open while somebody does and the tab is seen. */
export class EventStream {
  readonly #open: () => Source;
  readonly #isSeen: () => boolean;
  readonly #listeners = new Set<Listener>();
  #source: Source | null = null;
  #isLive = false;
  #pause: ReturnType<typeof setTimeout> | undefined;
  #heardSince = 0;
  #heard = 0;

  constructor(open: () => Source, isSeen: () => boolean) {
    this.#open = open;
    this.#isSeen = isSeen;
  }

  /** Listen; the answer ends it. */
  listen(listener: Listener): () => void {
    this.#listeners.add(listener);
    if (this.#isLive) listener.changed(true);
    this.look();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) {
        clearTimeout(this.#pause);
        this.#pause = undefined;
      }
      this.look();
    };
  }

  /** Open or close the connection, as those who listen and the tab want it now. */
  look(): void {
    const isWanted = this.#listeners.size > 0 && this.#isSeen() && this.#pause === undefined;
    if (isWanted && this.#source === null) this.#connect();
    else if (!isWanted && this.#source !== null) this.#close();
  }

  #connect(): void {
    const source = this.#open();
    this.#source = source;
    const ifOpen =
      (act: (event: MessageEvent<string>) => void) => (event: MessageEvent<string>) => {
        if (this.#source === source) act(event);
      };
    source.addEventListener(
      "open",
      ifOpen(() => {
        this.#set(true);
        /* between the first question and this connection something may have happened */
        for (const listener of this.#listeners) listener.missed();
      }),
    );
    source.addEventListener(
      "error",
      ifOpen(() => {
        this.#set(false);
        if (source.readyState === CLOSED) this.#rest();
      }),
    );
    source.addEventListener(
      "gap",
      ifOpen(() => {
        for (const listener of this.#listeners) listener.missed();
      }),
    );
    source.addEventListener(
      "end",
      ifOpen(() => this.#rest()),
    );
    source.addEventListener(
      "message",
      ifOpen(({ data }) => this.#hear(data)),
    );
  }

  #hear(text: string): void {
    const now = Date.now();
    if (now - this.#heardSince >= 1000) {
      this.#heardSince = now;
      this.#heard = 0;
    }
    this.#heard += 1;
    const event = JSON.parse(text) as LiveEvent;
    for (const listener of this.#listeners) listener.hear(event);
    if (this.#heard > MOST_EACH_SECOND) this.#rest();
  }

  #rest(): void {
    this.#close();
    clearTimeout(this.#pause);
    this.#pause = setTimeout(() => {
      this.#pause = undefined;
      this.look();
    }, PAUSE_MILLISECONDS);
  }

  #close(): void {
    this.#source?.close();
    this.#source = null;
    this.#set(false);
  }

  #set(isLive: boolean): void {
    if (this.#isLive === isLive) return;
    this.#isLive = isLive;
    for (const listener of this.#listeners) listener.changed(isLive);
  }
}

/** Return the query of a wish, always the same for the same. */
export function queryOf({ message, types = [] }: Wish): string {
  return new URLSearchParams([
    ...[...types].sort().map((type) => ["type", type]),
    ...(message === undefined ? [] : [["message", message]]),
  ]).toString();
}

export interface Spaced {
  want: () => void;
  stop: () => void;
}

/** Run something for what is wanted, a second after the first wish, since what an event tells of is
 * counted a little later; and not again within five seconds. */
export function spaced(run: () => void): Spaced {
  let last = Number.NEGATIVE_INFINITY;
  let timer: ReturnType<typeof setTimeout> | undefined;
  return {
    want: () => {
      if (timer !== undefined) return;
      timer = setTimeout(
        () => {
          timer = undefined;
          last = Date.now();
          run();
        },
        Math.max(1000, last + 5000 - Date.now()),
      );
    },
    stop: () => {
      clearTimeout(timer);
      timer = undefined;
    },
  };
}
