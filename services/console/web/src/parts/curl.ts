/** A request of the API as a command line of curl. */
import type { Call } from "../api/call";
import { quoted } from "../api/quoted";

/** Fields whose value is never copied: a word in its place says what to put there. */
const SECRETS: ReadonlySet<string> = new Set(["password", "current_password", "password_hash"]);
/** A key of its own belongs to each request: one that is sent again by hand is another. */
const LEFT_OUT: ReadonlySet<string> = new Set(["Idempotency-Key"]);

export function curlOf(call: Call, origin: string): string {
  const words = ["curl -sS"];
  if (call.method !== "GET") words.push(`-X ${call.method}`);
  words.push(quoted(origin + addressOf(call)), '-H "Authorization: Bearer $POSTHORN_API_KEY"');
  for (const [name, value] of Object.entries(call.headers))
    if (typeof value === "string" && !LEFT_OUT.has(name) && name !== "Content-Type")
      words.push(`-H ${quoted(`${name}: ${value}`)}`);
  if (typeof call.body === "string")
    words.push("-H 'Content-Type: application/x-ndjson'", "--data-binary @lines.ndjson");
  else if (call.body !== undefined)
    words.push("-H 'Content-Type: application/json'", `-d ${quoted(withoutSecrets(call.body))}`);
  return words.join(" ");
}

/** Return the path and query of a request. */
function addressOf(call: Call): string {
  const path = call.template.replaceAll(/\{(\w+)\}/g, (_, name: string) =>
    encodeURIComponent(String(call.path[name])),
  );
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(call.query))
    if (value !== undefined && value !== null) query.append(name, String(value));
  return query.size === 0 ? path : `${path}?${query}`;
}

function withoutSecrets(body: unknown): string {
  return JSON.stringify(body, (name, value: unknown) =>
    SECRETS.has(name) && typeof value === "string" ? `<${name}>` : value,
  );
}
