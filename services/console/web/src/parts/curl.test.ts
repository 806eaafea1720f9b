import { expect, test } from "vitest";
import { curlOf, quoted } from "./curl";

test("a word that a shell would read otherwise is quoted", () => {
  expect(quoted("alice@example.test")).toBe("alice@example.test");
  expect(quoted("a b")).toBe("'a b'");
  expect(quoted("it's; rm -rf $HOME")).toBe("'it'\\''s; rm -rf $HOME'");
  expect(quoted("")).toBe("''");
});

test("a request with a body", () => {
  const request = { method: "POST", path: "/v1/domains", body: { name: "example.test" } } as const;
  expect(curlOf(request, "http://127.0.0.1:8080")).toBe(
    'curl -sS -X POST http://127.0.0.1:8080/v1/domains -H "Authorization: Bearer $POSTHORN_API_KEY"' +
      ` -H 'Content-Type: application/json' -d '{"name":"example.test"}'`,
  );
});

test("a query is quoted", () => {
  expect(
    curlOf({ method: "GET", path: "/v1/queue?state=held&limit=5" }, "https://a.test"),
  ).toContain("'https://a.test/v1/queue?state=held&limit=5'");
});
