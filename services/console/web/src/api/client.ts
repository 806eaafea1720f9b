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

/** Return headers that make a creation safe to repeat; the key belongs to one form. */
export function once(key: string): { "Idempotency-Key": string } {
  return { "Idempotency-Key": key };
}
