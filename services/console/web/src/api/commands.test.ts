import { describe, expect, test } from "vitest";
import type { Call, Method } from "./call";
import { COMMANDS, commandOf } from "./commands";
/* `tests/unit/test_console_commands.py` runs each of these commands and looks at what it sends */
import samples from "./commands.samples.json";

const sources = import.meta.glob<string>(["../**/*.ts", "../**/*.tsx", "!../**/*.test.ts"], {
  query: "?raw",
  import: "default",
  eager: true,
});

interface Sample {
  call: string;
  path?: Record<string, unknown>;
  query?: Record<string, unknown>;
  body?: unknown;
  command: string;
}

function callOf({ call, path = {}, query = {}, body }: Sample): Call {
  const [method, template] = call.split(" ") as [Method, string];
  const send = () => Promise.reject(new Error("nothing is sent"));
  return { method, template, path, query, headers: {}, body, send };
}

describe("the command of each request", () => {
  test.each(samples as Sample[])("$command", (sample) => {
    expect(commandOf(callOf(sample))).toBe(sample.command);
    expect(sample.command).not.toContain("s3cret");
  });

  test("every operation has a sample", () => {
    expect(new Set(samples.map((each) => each.call))).toEqual(new Set(Object.keys(COMMANDS)));
  });
});

describe("no request without a command", () => {
  const request = /\bapi\.(GET|POST|PUT|PATCH|DELETE)\(\s*"([^"]+)"/g;
  const found = Object.values(sources).flatMap((text) =>
    [...text.matchAll(request)].map(([, method, path]) => `${method} ${path}`),
  );

  test("what the screens send has a command, and each command is used", () => {
    expect(new Set(found)).toEqual(new Set(Object.keys(COMMANDS)));
  });

  test("a request is sent by the client alone, and an action by its description", () => {
    const places: Record<string, readonly string[]> = {
      "\\bfetch\\(": [],
      "\\bnew EventSource\\(": ["./events.ts"],
      "\\bcreateClient<": ["./client.ts"],
      "\\buseMutation<": ["./queries.ts"],
      "\\buseSession\\(": ["../app/shell.tsx", "../app/sign-in.tsx"],
    };
    for (const [form, allowed] of Object.entries(places)) {
      const having = Object.keys(sources).filter((file) =>
        new RegExp(form).test(sources[file] as string),
      );
      expect(having.sort(), form).toEqual(allowed);
    }
  });

  test("each action is shown by a part that offers to copy it", () => {
    const made = /const (\w+) = useActions?(?:<[^(]*>)?\(/g;
    const shown = (name: string) => [`action={${name}}`, `${name}.describe(`];
    for (const [file, text] of Object.entries(sources)) {
      for (const [, name] of text.matchAll(made))
        expect(
          shown(name as string).some((part) => text.includes(part)),
          `${file}: ${name} has no "copy as"`,
        ).toBe(true);
      const count = [...text.matchAll(/\buseActions?(<[^(]*>)?\(/g)].length;
      const named = [...text.matchAll(made)].length;
      if (!file.endsWith("/queries.ts"))
        expect(named, `${file}: an action without a name`).toBe(count);
    }
  });
});

test("what has no value is left out, and null is none only where something is changed", () => {
  const query = { domain: undefined, limit: 100, cursor: null };
  expect(commandOf(callOf({ call: "GET /v1/accounts", query, command: "" }))).toBe(
    "posthorn account list",
  );
  const body = { quota_bytes: null };
  const path = { address: "a@b.test" };
  expect(commandOf(callOf({ call: "POST /v1/accounts", path, body, command: "" }))).toBe(
    "posthorn account create a@b.test",
  );
  const change = callOf({ call: "PATCH /v1/accounts/{address}", path, body, command: "" });
  expect(commandOf(change)).toBe("posthorn account set a@b.test --quota none");
});
