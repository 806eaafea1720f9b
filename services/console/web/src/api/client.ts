/** Requests to the API of this host, typed by its OpenAPI document. */
import createClient from "openapi-fetch";
import { type Answered, type ApiClient, type Call, describing } from "./call";
import { Problem, problemIn } from "./problem";
import type { components, operations, paths } from "./schema";

export type OperationId = keyof operations;
export type Schemas = components["schemas"];

/** The session is a cookie that no script can read; nothing is sent to another host. */
const client: ApiClient = createClient<paths, "application/json">({
  baseUrl: globalThis.location?.origin ?? "",
  credentials: "same-origin",
});

/** Describes requests; `answer` and `tagged` send them. */
export const api = {
  GET: describing("GET", client),
  POST: describing("POST", client),
  PUT: describing("PUT", client),
  PATCH: describing("PATCH", client),
  DELETE: describing("DELETE", client),
};

/** Requests that belong to this browser's session, which no command line sends. */
export const session = {
  methods: () => answerOf(client.GET("/v1/login/methods")),
  enter: (wish: Schemas["LoginRequest"]) => answerOf(client.POST("/v1/login", { body: wish })),
  leave: () => answerOf(client.DELETE("/v1/login")),
  /** The parts of the API and whether they work. */
  status: () => answerOf(client.GET("/v1/status")),
};

/** Send a request and return what it answered. Throws Problem. */
export function answer<T>(call: Call<T>): Promise<T> {
  return answerOf(call.send());
}

async function answerOf<T>(request: Promise<Answered<T>>): Promise<T> {
  let outcome: Awaited<typeof request>;
  try {
    outcome = await request;
  } catch {
    throw new Problem(0, {});
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

/** Send a request and return the object that it answered, with its tag. Throws Problem. */
export async function tagged<T>(call: Call<T>): Promise<Tagged<T>> {
  const sent = call.send();
  const { response } = await sent.catch(() => ({ response: null }));
  return { value: await answerOf(sent), tag: response?.headers.get("etag") ?? null };
}

/** Send a creation and return the object, and whether it is new: 200 in place of 201 says that it
 * was there before. Throws Problem. */
export async function made<T>(call: Call<T>): Promise<{ value: T; isNew: boolean }> {
  const sent = call.send();
  const { response } = await sent.catch(() => ({ response: null }));
  return { value: await answerOf(sent), isNew: response?.status === 201 };
}

/** Return headers for a change of a version; without a tag, of any. */
export function only(tag: string | null): { "If-Match"?: string } {
  return tag === null ? {} : { "If-Match": tag };
}

/** Return headers that make a creation safe to repeat; the key belongs to one form. */
export function once(key: string): { "Idempotency-Key": string } {
  return { "Idempotency-Key": key };
}
