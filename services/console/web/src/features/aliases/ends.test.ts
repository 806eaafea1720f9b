import { expect, test } from "vitest";
import { endsOf } from "./ends";

test("the ends of an alias, through others, with its loops", async () => {
  const aliases: Readonly<Record<string, readonly string[]>> = {
    all: ["team", "ada"],
    team: ["ada", "bob", "all"],
  };
  const asked: string[] = [];
  const ends = await endsOf("all", (address) => {
    asked.push(address);
    return Promise.resolve(aliases[address] ?? null);
  });
  expect(ends).toEqual([
    { address: "ada", by: ["all", "team"], isLoop: false },
    { address: "bob", by: ["all", "team"], isLoop: false },
    { address: "all", by: ["all", "team"], isLoop: true },
  ]);
  expect(asked).toEqual(["all", "team", "ada", "bob"]);
});

test("what has no end is not followed for ever", async () => {
  let asked = 0;
  await endsOf("0", (address) => {
    asked += 1;
    return Promise.resolve([`${Number(address) + 1}`]);
  });
  expect(asked).toBe(50);
});
