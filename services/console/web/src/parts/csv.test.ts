import { expect, test } from "vitest";
import { addressFaults, csvLines } from "./csv";

const COLUMNS = ["address", "password", "quota"];

test("lines without a head are in the order of the columns; empty ones are passed over", () => {
  expect(csvLines("a@b.test,secret,1 GiB\n\n c@d.test \n", COLUMNS)).toEqual([
    { line: 1, values: { address: "a@b.test", password: "secret", quota: "1 GiB" } },
    { line: 3, values: { address: "c@d.test" } },
  ]);
});

test("a head names the columns; semicolons part them as well", () => {
  expect(csvLines("\uFEFFQuota;Address\r\n2 GiB;a@b.test\r\n", COLUMNS)).toEqual([
    { line: 2, values: { quota: "2 GiB", address: "a@b.test" } },
  ]);
});

test("quoted values hold separators, quotes and line ends", () => {
  expect(csvLines('a@b.test,"x,""y""\nz"\nc@d.test,p"w', COLUMNS)).toEqual([
    { line: 1, values: { address: "a@b.test", password: 'x,"y"\nz' } },
    { line: 3, values: { address: "c@d.test", password: 'p"w' } },
  ]);
});

test("what is wrong with an address", () => {
  const lines = csvLines("a@b.test\nnobody\nA@B.test\n,secret", COLUMNS);
  expect(addressFaults(lines)).toEqual([
    [],
    ["this is no address"],
    ["the same address as in line 1"],
    ["the address is missing"],
  ]);
});
