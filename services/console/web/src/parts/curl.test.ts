import { expect, test } from "vitest";
import type { Call, Method } from "../api/call";
import { quoted } from "../api/quoted";
import { curlOf } from "./curl";

function call(method: Method, template: string, given: Partial<Call> = {}): Call {
  const send = () => Promise.reject(new Error("nothing is sent"));
  return { method, template, path: {}, query: {}, headers: {}, body: undefined, send, ...given };
}

test("a word that a shell would read otherwise is quoted", () => {
  expect(quoted("alice@example.test")).toBe("alice@example.test");
  expect(quoted("a b")).toBe("'a b'");
  expect(quoted("it's; rm -rf $HOME")).toBe("'it'\\''s; rm -rf $HOME'");
  expect(quoted("")).toBe("''");
});

test("a request with a body", () => {
  const body = { name: "example.test" };
  expect(curlOf(call("POST", "/v1/domains", { body }), "http://127.0.0.1:8080")).toBe(
    'curl -sS -X POST http://127.0.0.1:8080/v1/domains -H "Authorization: Bearer $POSTHORN_API_KEY"' +
      ` -H 'Content-Type: application/json' -d '{"name":"example.test"}'`,
  );
});

test("a query is quoted, and what is not given is left out", () => {
  const query = { state: "held", limit: 5, cursor: null, domain: undefined };
  expect(curlOf(call("GET", "/v1/queue", { query }), "https://a.test")).toContain(
    "'https://a.test/v1/queue?state=held&limit=5'",
  );
});

test("a value in the path is escaped; the version that is changed is named, a repeat is not", () => {
  const change = call("PATCH", "/v1/aliases/{address}", {
    path: { address: "a/b@example.test" },
    headers: { "If-Match": '"7"', "Idempotency-Key": "x" },
    body: {},
  });
  const line = curlOf(change, "https://a.test");
  expect(line).toContain("/v1/aliases/a%2Fb%40example.test");
  expect(line).toContain(`-H 'If-Match: "7"'`);
  expect(line).not.toContain("Idempotency-Key");
});

test("no secret is copied, wherever it stands", () => {
  const body = { password: "s3cret", accounts: [{ address: "a@b.test", password: "s3cret" }] };
  const line = curlOf(call("PUT", "/v1/config", { body }), "https://a.test");
  expect(line).not.toContain("s3cret");
  expect(line).toContain('"password":"<password>"');
});
