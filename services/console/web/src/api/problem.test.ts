import { expect, test } from "vitest";
import { Problem, problemIn, problemOf } from "./problem";

test("what is wrong is said by the detail, not by the name of the status", () => {
  const problem = new Problem(404, { title: "Not Found", detail: "there is no domain x.example" });
  expect(problem.said).toBe("There is no domain x.example");
});

test("of faults of fields the title is said, for the faults are listed", () => {
  const errors = [{ field: "name", message: "is empty" }];
  const problem = new Problem(422, {
    title: "Validation failed",
    detail: "name: is empty",
    errors,
  });
  expect(problem.said).toBe("Validation failed");
  expect(problem.about("name")).toBe("is empty");
});

test("no answer, and an answer of a proxy, are said in words", () => {
  expect(new Problem(0, {}).said).toMatch(/^The server does not answer/);
  const proxied = problemIn(new Response("<html>", { status: 502 }), undefined);
  expect(proxied.said).toMatch(/^The server answered with the status 502/);
});

test("a fault of the page is not taken for one of the server", () => {
  expect(problemOf(new TypeError("x is undefined")).said).toBe("X is undefined");
});
