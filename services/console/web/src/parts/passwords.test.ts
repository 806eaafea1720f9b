import { expect, test } from "vitest";
import { newPassword } from "./passwords";

test("a password is 25 characters in groups, and each is another", () => {
  const made = Array.from({ length: 50 }, newPassword);
  for (const password of made)
    expect(password).toMatch(/^([a-km-np-zA-HJ-NP-Z2-9]{5}-){4}[a-zA-Z2-9]{5}$/);
  expect(new Set(made).size).toBe(50);
});
