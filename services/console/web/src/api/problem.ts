/** Problem documents of the API (RFC 9457). */

export interface FieldFault {
  field: string;
  message: string;
}

/** An answer that is no success, or no answer at all (status 0). */
export class Problem extends Error {
  readonly status: number;
  /** The last part of the problem's type, such as `invalid`. */
  readonly slug: string;
  readonly title: string;
  readonly detail: string;
  readonly fields: readonly FieldFault[];
  readonly requestId: string | null;
  /** Seconds after which the same may be tried again, as the answer says. */
  readonly retryAfter: number | null;

  constructor(
    status: number,
    document: {
      type?: string;
      title?: string;
      detail?: string;
      errors?: readonly FieldFault[] | null;
    },
    headers: Headers = new Headers(),
  ) {
    super(document.detail ?? document.title ?? titleOf(status));
    this.status = status;
    this.slug = (document.type ?? "").split(":").pop() ?? "";
    this.title = document.title ?? titleOf(status);
    this.detail = document.detail ?? "";
    this.fields = document.errors ?? [];
    this.requestId = headers.get("x-request-id");
    this.retryAfter = secondsIn(headers.get("retry-after"));
  }

  /** What is wrong, as a heading: of several faults of fields, that there are some; they are listed
   * below it. */
  get said(): string {
    const text = this.fields.length > 0 || this.detail === "" ? this.title : this.detail;
    return text.charAt(0).toUpperCase() + text.slice(1);
  }

  /** What is wrong with a field; undefined when nothing is. */
  about(field: string): string | undefined {
    return this.fields.find((fault) => fault.field === field)?.message;
  }

  /** Whether the same request may succeed after a wait. */
  get passes(): boolean {
    return this.status === 0 || this.status === 429 || this.status === 503;
  }
}

/** Return the problem in an answer whose body was read as JSON, if it was JSON. */
export function problemIn(response: Response, body: unknown): Problem {
  const document = typeof body === "object" && body !== null ? body : {};
  return new Problem(response.status, document, response.headers);
}

/** Return the problem that a failure is; what is none of the API's gets status 0. */
export function problemOf(failure: unknown): Problem {
  if (failure instanceof Problem) return failure;
  const detail = failure instanceof Error ? failure.message : String(failure);
  return new Problem(0, { title: "This page failed", detail });
}

/** What is said of an answer that is no problem document, such as that of a proxy. */
function titleOf(status: number): string {
  return status === 0
    ? "The server does not answer. Is this computer connected, and does the API run?"
    : `The server answered with the status ${status} and no reason. Does the API run?`;
}

function secondsIn(header: string | null): number | null {
  return header !== null && /^\d{1,6}$/.test(header) ? Number(header) : null;
}
