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
  next_cursor: string | null;
  total?: number | null;
}

export interface List<T> {
  items: readonly T[];
  total: number | null;
  query: UseInfiniteQueryResult<unknown, Problem>;
}

/** Ask for a list, a page at a time. */
export function useList<T>(
  key: readonly unknown[],
  ask: (cursor: string | undefined) => Promise<Page<T>>,
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
    queryFn: ({ pageParam }) => ask(pageParam || undefined),
    initialPageParam: "",
    getNextPageParam: (last) => last.next_cursor ?? undefined,
    enabled: options.enabled ?? true,
    refetchInterval: options.every === undefined ? false : Math.max(5, options.every) * 1000,
    placeholderData: (before) => before,
  });
  return {
    items: query.data?.pages.flatMap((page) => page.items) ?? [],
    total: query.data?.pages[0]?.total ?? null,
    query,
  };
}

/** Change something: says in the live region what was done, and asks again for the nouns that it
 * changed. */
export function useAction<Input, Output>(
  run: (input: Input) => Promise<Output>,
  options: {
    changes: readonly string[];
    said?: (output: Output, input: Input) => string;
    done?: (output: Output, input: Input) => void;
  },
) {
  const client = useQueryClient();
  return useMutation<Output, Problem, Input>({
    mutationFn: run,
    retry: (count, failure) => problemOf(failure).passes && failure.status !== 429 && count < 1,
    retryDelay: (_, failure) => 1000 * (problemOf(failure).retryAfter ?? 2),
    onSuccess: async (output, input) => {
      if (options.said) announce(options.said(output, input));
      options.done?.(output, input);
      await Promise.all(
        options.changes.map((noun) => client.invalidateQueries({ queryKey: [noun] })),
      );
    },
  });
}
