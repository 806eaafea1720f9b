import { expect, test } from "vitest";
import { accountRows, linesOf, madePasswords, outcomesIn } from "./import-rows";

const ROWS = accountRows("carol@a.test,secret,2 GiB\nDave@B.test\n", () => "made");

test("a line without a password gets one, a size is read", () => {
  expect(ROWS.map((row) => [row.password, row.isMade, row.quota_bytes, row.faults])).toEqual([
    ["secret", false, 2 * 1024 ** 3, []],
    ["made", true, null, []],
  ]);
  expect(accountRows("x@a.test,,much", () => "")[0]?.faults).toEqual([
    "much is no size, such as 5 GiB",
  ]);
});

test("the body has a line of JSON each", () => {
  expect(linesOf(ROWS)).toBe(
    '{"address":"carol@a.test","password":"secret","quota_bytes":2147483648}\n' +
      '{"address":"Dave@B.test","password":"made"}\n',
  );
});

test("the tool that manages an account is named", () => {
  const whole = [
    {
      line: 1,
      status: "failed",
      errors: [{ field: "state", message: "other" }],
      managed_by: "flux",
    },
    { line: 2, status: "unchanged", managed_by: "flux" },
  ];
  const text = whole.map((line) => `${JSON.stringify(line)}\n`).join("");
  expect(outcomesIn(text, ROWS).map(({ errors }) => errors)).toEqual([
    "state: other; managed by flux: change it there",
    "managed by flux: change it there",
  ]);
});

test("the answers are put beside the lines; an import that ended early says why", () => {
  const failed = { line: 1, status: "failed", errors: [{ field: "password", message: "short" }] };
  const whole = [failed, { line: 2, status: "created" }, { done: true, lines: 2 }];
  const text = whole.map((line) => `${JSON.stringify(line)}\n`).join("");
  const outcomes = outcomesIn(text, ROWS);
  expect(outcomes.map(({ status, errors }) => [status, errors])).toEqual([
    ["failed", "password: short"],
    ["created", ""],
  ]);
  expect(madePasswords(outcomes)).toBe("Dave@B.test,made\n");
  const early = `${JSON.stringify({ done: false, status: 503, detail: "busy" })}\n`;
  expect(outcomesIn(early, ROWS).map(({ status, errors }) => [status, errors])).toEqual([
    ["not reached", "busy"],
    ["not reached", "busy"],
  ]);
});
