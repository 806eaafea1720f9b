/** Following events from a screen: what is shown moves as it happens. */
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useEffectEvent, useState } from "react";
import { EventStream, type LiveEvent, queryOf, spaced, type Wish } from "./event-stream";
import { useCan } from "./me";
import type { paths } from "./schema";

const PATH = "/v1/events/stream" satisfies keyof paths;
const streams = new Map<string, EventStream>();

document.addEventListener("visibilitychange", () => {
  for (const stream of streams.values()) stream.look();
});

function streamOf(query: string): EventStream {
  const found = streams.get(query);
  if (found !== undefined) return found;
  const made = new EventStream(
    () => new EventSource(`${PATH}?${query}`),
    () => !document.hidden,
  );
  streams.set(query, made);
  return made;
}

/** Follow events while this screen is shown. Return whether it does: otherwise the caller may not,
 * the server refused it, or the connection is broken, and the screen has to ask by itself.
 * `missed`: events may have passed unheard. */
export function useEvents(
  wish: Wish,
  on: { hear: (event: LiveEvent) => void; missed: () => void },
): boolean {
  const isAllowed = useCan()("followEvents");
  const [isLive, setIsLive] = useState(false);
  const hear = useEffectEvent(on.hear);
  const missed = useEffectEvent(on.missed);
  const query = queryOf(wish);
  useEffect(() => {
    if (!isAllowed) return;
    const stop = streamOf(query).listen({
      hear: (event) => hear(event),
      missed: () => missed(),
      changed: setIsLive,
    });
    return () => {
      stop();
      setIsLive(false);
    };
  }, [isAllowed, query]);
  return isLive;
}

/** Ask again for a noun after events of these types, at most each five seconds. Return whether
 * events are followed. */
export function useRefresh(noun: string, types: readonly string[]): boolean {
  const client = useQueryClient();
  const [refresh] = useState(() =>
    spaced(() => void client.invalidateQueries({ queryKey: [noun] })),
  );
  useEffect(() => refresh.stop, [refresh]);
  return useEvents({ types }, { hear: refresh.want, missed: refresh.want });
}
