/** Who is signed in, and which operations the server permits them. */
import { useQueryClient } from "@tanstack/react-query";
import { answer, api, type OperationId, type Schemas } from "./client";
import { useOne } from "./queries";

export type Me = Schemas["MeView"];
export type LoginMethods = Schemas["LoginMethodsView"];

const KEY = ["me"] as const;

/** Ask who is signed in; a problem with status 401 says that nobody is. */
export function useMe() {
  return useOne<Me>(KEY, () => answer(api.GET("/v1/me")));
}

/** Return a function that says whether the caller may use an operation. */
export function useCan(): (operation: OperationId) => boolean {
  const me = useMe().data;
  return (operation) => me?.operations.includes(operation) ?? false;
}

/** Return a function that takes note of a new session, or of its end. */
export function useSessionChange(): (me: Me | null) => void {
  const client = useQueryClient();
  return (me) => {
    client.removeQueries({ predicate: (query) => query.queryKey[0] !== KEY[0] });
    if (me === null) void client.resetQueries({ queryKey: KEY });
    else client.setQueryData(KEY, me);
  };
}
