import { expect, test } from "vitest";
import { type ClientServer, setUpText } from "./set-up";

const SERVERS: readonly ClientServer[] = [
  { protocol: "imap", host: "mail.example.test", port: 993, security: "tls" },
  { protocol: "pop3", host: "mail.example.test", port: 995, security: "tls" },
  { protocol: "smtp", host: "mail.example.test", port: 587, security: "starttls" },
];

test("reading by IMAP with TLS, sending with STARTTLS", () => {
  expect(setUpText(SERVERS, "a@example.test", "Ä", "secret")).toBe(
    '[1,[1,1],[0,"mail.example.test",993,3,1,"a@example.test","a@example.test","secret"],' +
      '[[[0,"mail.example.test",587,2,1,"a@example.test","secret"],["a@example.test","Ä"]]]]',
  );
  expect(setUpText(SERVERS.slice(1), "a@b.test", "", "x")).toMatch(/^\[1,\[1,1\],\[1,/);
});

test("no code without a server for each, and none of more than 800 characters", () => {
  expect(setUpText(SERVERS.slice(0, 2), "a@b.test", "", "x")).toBeNull();
  expect(setUpText(SERVERS.slice(2), "a@b.test", "", "x")).toBeNull();
  expect(setUpText(SERVERS, "a@b.test", "x".repeat(800), "x")).toBeNull();
});
