/** A request of the API as a command line of curl. */
export interface HttpRequest {
  method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  path: string;
  body?: unknown;
}

export function curlOf(request: HttpRequest, origin: string): string {
  const words = ["curl -sS"];
  if (request.method !== "GET") words.push(`-X ${request.method}`);
  words.push(quoted(origin + request.path), '-H "Authorization: Bearer $POSTHORN_API_KEY"');
  if (request.body !== undefined) {
    words.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(request.body))}`);
  }
  return words.join(" ");
}

/** Return a word of a command line: quoted where a shell would read it otherwise. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
