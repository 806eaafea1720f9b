import type { Schemas } from "../../api/client";
import type { EditedField } from "../../parts/edits";

export type Route = Schemas["RouteView"];
export type Setting = Schemas["RouteSetting"];

export const DOMAIN: EditedField = {
  name: "domain",
  label: "Domain of the recipients",
  kind: "text",
  hint: "Such as example.com.",
};

export const SETTINGS: readonly EditedField[] = [
  {
    name: "host",
    label: "Host",
    kind: "text",
    hint: "Empty: the hosts that the domain's MX records name.",
  },
  { name: "port", label: "Port", kind: "number", hint: "Empty: 25, or 465 with implicit TLS." },
  {
    name: "tls",
    label: "TLS",
    kind: "choice",
    options: [
      ["opportunistic", "opportunistic: if the host offers it"],
      ["required", "required: with any certificate"],
      ["verified", "verified: with a certificate that is valid for the host"],
      ["implicit", "implicit: from the first byte, verified"],
      ["none", "none"],
    ],
  },
  {
    name: "connections",
    label: "Connections at a time, at most",
    kind: "number",
    hint: "Empty: as many as the relay is set to.",
  },
  {
    name: "messages_per_minute",
    label: "Messages a minute, at most",
    kind: "number",
    hint: "Empty: unlimited.",
  },
  { name: "username", label: "User name", kind: "text", hint: "Empty: the relay does not log in." },
];
