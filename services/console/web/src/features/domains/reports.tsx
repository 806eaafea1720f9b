import { api, type Schemas } from "../../api/client";
import { useList } from "../../api/queries";
import { count } from "../../parts/moments";
import { Command } from "../../parts/notices";
import { Section } from "../../parts/page";
import { State } from "../../parts/state";
import { type Column, DataTable } from "../../parts/table";

type Dmarc = Schemas["DmarcFigureView"];
type Tls = Schemas["TlsFigureView"];

const aligned = (isAligned: boolean) => (
  <State kind={isAligned ? "good" : "bad"}>{isAligned ? "aligned" : "not aligned"}</State>
);
const days = (figure: Dmarc | Tls) =>
  figure.first_day === figure.last_day
    ? figure.first_day
    : `${figure.first_day} to ${figure.last_day}`;
const reporter = (figure: Dmarc | Tls) =>
  figure.believed ? figure.reporter : `${figure.reporter} (not authenticated)`;

const DMARC: readonly Column<Dmarc>[] = [
  { id: "source", title: "Source", cell: (figure) => figure.source },
  { id: "messages", title: "Messages", end: true, cell: (figure) => count(figure.messages) },
  { id: "dkim", title: "DKIM", cell: (figure) => aligned(figure.dkim_aligned) },
  { id: "spf", title: "SPF", cell: (figure) => aligned(figure.spf_aligned) },
  { id: "disposition", title: "Disposition", cell: (figure) => figure.disposition },
  { id: "reporter", title: "Reporter", cell: reporter },
  { id: "days", title: "Days", cell: days },
];

const TLS: readonly Column<Tls>[] = [
  { id: "host", title: "Receiving host", cell: (figure) => figure.receiving_host },
  { id: "sessions", title: "Sessions", end: true, cell: (figure) => count(figure.sessions) },
  {
    id: "result",
    title: "Result",
    cell: (figure) => (
      <State kind={figure.result_type === null ? "good" : "bad"}>
        {figure.result_type ?? "success"}
      </State>
    ),
  },
  { id: "policy", title: "Policy", cell: (figure) => figure.policy_type },
  { id: "reporter", title: "Reporter", cell: reporter },
  { id: "days", title: "Days", cell: days },
];

/** What other hosts report about mail of this domain. */
export function Reports({ name }: { name: string }) {
  const path = { name };
  const dmarc = useList<Dmarc>(["reports", name, "dmarc"], (cursor) =>
    api.GET("/v1/domains/{name}/reports/dmarc", {
      params: { path, query: { limit: 100, cursor } },
    }),
  );
  const tls = useList<Tls>(["reports", name, "tls"], (cursor) =>
    api.GET("/v1/domains/{name}/reports/tls", {
      params: { path, query: { limit: 100, cursor } },
    }),
  );
  return (
    <>
      <Section title="DMARC: who sends in this domain's name">
        <DataTable
          caption="DMARC figures"
          columns={DMARC}
          list={dmarc}
          rowKey={(figure) => Object.values(figure).join(" ")}
          empty={<Nothing command={`posthorn report dmarc ${name}`} record="DMARC" />}
        />
      </Section>
      <Section title="TLS: how others reach this domain">
        <DataTable
          caption="TLS figures"
          columns={TLS}
          list={tls}
          rowKey={(figure) => Object.values(figure).join(" ")}
          empty={<Nothing command={`posthorn report tls ${name}`} record="TLS-RPT" />}
        />
      </Section>
    </>
  );
}

function Nothing({ command, record }: { command: string; record: string }) {
  return (
    <>
      <p className="weak">
        No report yet. They come once a day to the address that the {record} record names.
      </p>
      <Command text={command} />
    </>
  );
}
