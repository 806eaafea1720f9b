import { expect, test } from "vitest";
import { dnsEndpoint, terraform } from "./dns-forms";

/* braces after a dollar are Terraform's interpolation */
const TEXT = `v=spf1 "x" $${"{y}"}`;
const RECORDS = [
  { name: "a.test", type: "MX", values: ["10 mx.a.test"], strings: null, ttl: 3600 },
  { name: "a.test", type: "TXT", values: [TEXT], strings: null, ttl: 60 },
  { name: "mta-sts.a.test", type: "CNAME", values: ["mx.a.test"], strings: null, ttl: 60 },
  {
    name: "_imaps._tcp.a.test",
    type: "SRV",
    values: ["0 1 993 mx.a.test"],
    strings: null,
    ttl: 60,
  },
  { name: "7.2.0.192.in-addr.arpa", type: "PTR", values: ["mx.a.test"], strings: null, ttl: 60 },
] as const;

test("resources of Terraform: names within the zone, hosts with their dot, nothing interpolated", () => {
  expect(terraform("a.test", RECORDS)).toBe(`resource "dns_mx_record_set" "mx_a_test" {
  zone = "a.test."
  ttl  = 3600
  mx {
    preference = 10
    exchange   = "mx.a.test."
  }
}

resource "dns_txt_record_set" "txt_a_test" {
  zone = "a.test."
  ttl  = 60
  txt  = ["v=spf1 \\"x\\" $\${y}"]
}

resource "dns_cname_record" "cname_mta_sts_a_test" {
  zone = "a.test."
  name = "mta-sts"
  ttl  = 60
  cname = "mx.a.test."
}

resource "dns_srv_record_set" "srv_imaps_tcp_a_test" {
  zone = "a.test."
  name = "_imaps._tcp"
  ttl  = 60
  srv {
    priority = 0
    weight   = 1
    port     = 993
    target   = "mx.a.test."
  }
}

# not of this zone: 7.2.0.192.in-addr.arpa PTR mx.a.test
`);
});

test("no two resources of Terraform have one name", () => {
  const twice = terraform("a.test", [RECORDS[0], RECORDS[0]]);
  expect(twice.match(/"mx_a_test(_2)?"/g)).toEqual(['"mx_a_test"', '"mx_a_test_2"']);
});

test("a DNSEndpoint: texts as they are, the host of SRV with its dot", () => {
  expect(dnsEndpoint("a.test", RECORDS)).toBe(`apiVersion: externaldns.k8s.io/v1alpha1
kind: DNSEndpoint
metadata:
  name: mail-a-test
spec:
  endpoints:
    - dnsName: a.test
      recordTTL: 3600
      recordType: MX
      targets:
        - "10 mx.a.test"
    - dnsName: a.test
      recordTTL: 60
      recordType: TXT
      targets:
        - "v=spf1 \\"x\\" \${y}"
    - dnsName: mta-sts.a.test
      recordTTL: 60
      recordType: CNAME
      targets:
        - "mx.a.test"
    - dnsName: _imaps._tcp.a.test
      recordTTL: 60
      recordType: SRV
      targets:
        - "0 1 993 mx.a.test."
`);
});
