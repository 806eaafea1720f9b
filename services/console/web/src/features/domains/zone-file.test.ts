import { expect, test } from "vitest";
import { zoneFile } from "./zone-file";

test("names end in a dot, texts are quoted and split", () => {
  const zone = zoneFile([
    { name: "a.test", type: "MX", values: ["10 mx.a.test"], strings: null, ttl: 3600 },
    {
      name: "k._domainkey.a.test",
      type: "TXT",
      values: ['v=DKIM1; p=AB"C'],
      strings: [["v=DKIM1; p=A", 'B"C']],
      ttl: 60,
    },
    { name: "_imap._tcp.a.test", type: "SRV", values: ["0 1 143 ."], strings: null, ttl: 60 },
  ]);
  expect(zone).toBe(
    "a.test. 3600 IN MX 10 mx.a.test.\n" +
      'k._domainkey.a.test. 60 IN TXT "v=DKIM1; p=A" "B\\"C"\n' +
      "_imap._tcp.a.test. 60 IN SRV 0 1 143 .\n",
  );
});
