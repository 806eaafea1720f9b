/** Requests to the API of this host, typed by its OpenAPI document. */
import createClient from "openapi-fetch";
import { Problem, problemIn } from "./problem";
import type { components, operations, paths } from "./schema";

export type OperationId = keyof operations;
export type Schemas = components["schemas"];

/** The session is a cookie that no script can read; nothing is sent to another host. */
export const api = createClient<paths, "application/json">({
  baseUrl: location.origin,
  credentials: "same-origin",
});

/** Return what a request answered. Throws Problem. */
export async function answer<T>(
  request: Promise<{ data?: T; error?: unknown; response: Response }>,
): Promise<T> {
  let outcome: Awaited<typeof request>;
  try {
    outcome = await request;
  } catch (failure) {
    throw new Problem(0, {
      title: "No answer from the server",
      detail: failure instanceof Error ? failure.message : String(failure),
    });
  }
  if (!outcome.response.ok) throw problemIn(outcome.response, outcome.error);
  return outcome.data as T;
}

/** An object, and the tag of its version; with the tag, a change is made only if nobody else has
 * changed the object since. */
export interface Tagged<T> {
  value: T;
  tag: string | null;
}

/** Return the object that a request answered, with its tag. Throws Problem. */
export async function tagged<T>(
  request: Promise<{ data?: T; error?: unknown; response: Response }>,
): Promise<Tagged<T>> {
  const { response } = await request.catch(() => ({ response: null }));
  return { value: await answer(request), tag: response?.headers.get("etag") ?? null };
}

/** Return headers for a change of a version; without a tag, of any. */
export function only(tag: string | null): { "If-Match"?: string } {
  return tag === null ? {} : { "If-Match": tag };
}

/** Return headers that make a creation safe to repeat; the key belongs to one form. */
export function once(key: string): { "Idempotency-Key": string } {
  return { "Idempotency-Key": key };
}
