/** Requests as values: what is sent and what "copy as" shows are one description. */
import type { Client, FetchResponse, MaybeOptionalInit } from "openapi-fetch";
import type { Described } from "./commands";
import type { paths } from "./schema";

type Media = "application/json";
export type ApiClient = Client<paths, Media>;
export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
export type Values = Readonly<Record<string, unknown>>;

/** An answer before it is judged. */
export interface Answered<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** A request of the API that is not sent yet. */
export interface Call<T = unknown> {
  readonly method: Method;
  /** Its path as the OpenAPI document has it, such as `/v1/accounts/{address}`. */
  readonly template: string;
  readonly path: Values;
  readonly query: Values;
  readonly headers: Values;
  readonly body: unknown;
  readonly send: () => Promise<Answered<T>>;
}

interface Init {
  params?: { path?: Values; query?: Values; header?: Values };
  headers?: Values;
  body?: unknown;
}

type Data<R> = R extends { data: infer T } ? T : never;
type Item<Path> = paths[Path & keyof paths];
type Result<Path, M extends Method, I> =
  Lowercase<M> extends infer Verb extends keyof Item<Path>
    ? Item<Path>[Verb] extends infer Operation extends Record<string | number, unknown>
      ? Data<FetchResponse<Operation, I, Media>>
      : never
    : never;
type Arguments<I> = object extends I ? [I?] : [I];

/** Describes requests of a method. It takes only paths that have a command, see `commands.ts`. */
export type Describe<M extends Method> = <
  Path extends Described<M>,
  I extends MaybeOptionalInit<Item<Path>, Lowercase<M> & keyof Item<Path>>,
>(
  template: Path,
  ...init: Arguments<I>
) => Call<Result<Path, M, I>>;

export function describing<M extends Method>(method: M, client: ApiClient): Describe<M> {
  const send = client[method] as (template: string, init: unknown) => Promise<Answered<never>>;
  return (template, ...[init]) => {
    const given = (init ?? {}) as Init;
    return {
      method,
      template,
      path: given.params?.path ?? {},
      query: given.params?.query ?? {},
      headers: { ...given.params?.header, ...given.headers },
      body: given.body,
      send: () => send(template, init),
    };
  };
}
