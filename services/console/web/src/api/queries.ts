/** What was asked of the API is kept here, by noun: `["domains", …]`. */
import {
  MutationCache,
  QueryCache,
  QueryClient,
  type UseInfiniteQueryResult,
  useInfiniteQuery,
  useMutation,
  useQuery,
  useQueryClient,
} from "@tanstack/react-query";
import { announce } from "../parts/live";
import type { Call } from "./call";
import { answer } from "./client";
import { type Problem, problemOf } from "./problem";

const TRIES = 2;

/** A session that has ended is noticed by whatever is asked next: the sign-in page takes its place. */
function noticeEnd(failure: unknown) {
  if (problemOf(failure).status === 401 && queries.getQueryData(["me"]) !== undefined)
    void queries.resetQueries({ queryKey: ["me"] });
}

export const queries: QueryClient = new QueryClient({
  queryCache: new QueryCache({
    onError: (failure, query) => {
      if (query.queryKey[0] !== "me") noticeEnd(failure);
    },
  }),
  mutationCache: new MutationCache({ onError: noticeEnd }),
  defaultOptions: {
    queries: {
      staleTime: 15_000,
      refetchOnWindowFocus: true,
      retry: (count, failure) => problemOf(failure).passes && count < TRIES,
      retryDelay: (_, failure) => 1000 * (problemOf(failure).retryAfter ?? 2),
    },
  },
});

/** Ask for one object. `every`: seconds after which it is asked for again, 5 at least, in a tab
 * that is seen. */
export function useOne<T>(
  key: readonly unknown[],
  ask: () => Promise<T>,
  options: { every?: number; enabled?: boolean } = {},
) {
  return useQuery<T, Problem>({
    queryKey: key,
    queryFn: ask,
    enabled: options.enabled ?? true,
    refetchInterval: options.every === undefined ? false : Math.max(5, options.every) * 1000,
  });
}

export interface Page<T> {
  items: T[];
  next_cursor?: string | null;
  total?: number | null;
}

export interface List<T> {
  items: readonly T[];
  total: number | null;
  /** What asks for its first page. */
  call: Call;
  /** What asks for the page at a cursor. */
  page: (cursor: string | null) => Call<Page<T>>;
  query: UseInfiniteQueryResult<unknown, Problem>;
}

/** Ask for a list, a page at a time. */
export function useList<T>(
  key: readonly unknown[],
  ask: (cursor: string | null) => Call<Page<T>>,
  options: { enabled?: boolean; every?: number } = {},
): List<T> {
  const query = useInfiniteQuery<
    Page<T>,
    Problem,
    { pages: Page<T>[] },
    readonly unknown[],
    string
  >({
    queryKey: key,
    queryFn: ({ pageParam }) => answer(ask(pageParam || null)),
    initialPageParam: "",
    getNextPageParam: (last) => last.next_cursor ?? undefined,
    enabled: options.enabled ?? true,
    refetchInterval: options.every === undefined ? false : Math.max(5, options.every) * 1000,
    placeholderData: (before) => before,
  });
  return {
    items: query.data?.pages.flatMap((page) => page.items) ?? [],
    total: query.data?.pages[0]?.total ?? null,
    call: ask(null),
    page: ask,
    query,
  };
}

interface Told<Input, Output> {
  changes: readonly string[];
  said?: (output: Output, input: Input) => string;
  done?: (output: Output, input: Input) => void;
  failed?: (problem: Problem, input: Input) => void;
  /** The requests that take it back; they are offered for some seconds. */
  undo?: (output: Output, input: Input) => readonly Call[];
  /** Called when it was taken back. */
  undone?: () => void;
}

/** Something that can be done: its requests can be sent, and be copied instead. */
export interface Action<Input, Output = unknown> {
  describe: (input: Input) => readonly Call[];
  mutate: (input: Input) => void;
  reset: () => void;
  isPending: boolean;
  isSuccess: boolean;
  error: Problem | null;
  data: Output | undefined;
}

/** Change something by requests that are sent one after the other: says in the live region what was
 * done, and asks again for the nouns that it changed. */
export function useActions<Input, T, Output = readonly T[]>(
  calls: (input: Input) => readonly Call<T>[],
  options: Told<Input, Output> & { send?: (calls: readonly Call<T>[]) => Promise<Output> },
): Action<Input, Output> {
  const client = useQueryClient();
  const { changes, said, done, failed, undo, undone, send = inTurn } = options;
  const askAgain = () =>
    Promise.all(changes.map((noun) => client.invalidateQueries({ queryKey: [noun] })));
  const takeBack = (back: readonly Call[]) =>
    inTurn(back)
      .then(() => {
        announce("Taken back");
        undone?.();
      })
      .catch((failure) => announce(`Not taken back: ${problemOf(failure).message}`))
      .finally(() => void askAgain());
  const mutation = useMutation<Output, Problem, Input>({
    mutationFn: (input) => send(calls(input)) as Promise<Output>,
    retry: (count, failure) => problemOf(failure).passes && failure.status !== 429 && count < 1,
    retryDelay: (_, failure) => 1000 * (problemOf(failure).retryAfter ?? 2),
    onSuccess: async (output, input) => {
      const back = undo?.(output, input) ?? [];
      if (said)
        announce(said(output, input), back.length > 0 ? () => void takeBack(back) : undefined);
      done?.(output, input);
      await askAgain();
    },
    onError: (problem, input) => failed?.(problem, input),
  });
  const { mutate, reset, isPending, isSuccess, error, data } = mutation;
  return { describe: calls, mutate, reset, isPending, isSuccess, error, data };
}

/** Change something by one request. `send`: in place of `answer`. */
export function useAction<Input, T, Output = T>(
  call: (input: Input) => Call<T>,
  options: Told<Input, Output> & { send?: (call: Call<T>) => Promise<Output> },
): Action<Input, Output> {
  const { send = answer as unknown as (call: Call<T>) => Promise<Output>, ...told } = options;
  return useActions((input: Input) => [call(input)], {
    ...told,
    send: ([first]) => send(first as Call<T>),
  });
}

async function inTurn<T>(calls: readonly Call<T>[]): Promise<unknown> {
  const answers: T[] = [];
  for (const call of calls) answers.push(await answer(call));
  return answers;
}

/** Enter or leave a session; no request of a session is copied. */
export function useSession<Input, Output>(
  run: (input: Input) => Promise<Output>,
  done: (output: Output) => void,
) {
  return useMutation<Output, Problem, Input>({ mutationFn: run, onSuccess: done });
}
