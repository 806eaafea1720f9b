import { Link } from "@tanstack/react-router";
import { api, type Schemas } from "../../api/client";
import { useCan } from "../../api/me";
import { CopyAs } from "../../parts/copy-as";
import { Health, useSystem } from "../../parts/health";
import { count, duration, size } from "../../parts/moments";
import { Command } from "../../parts/notices";
import { Facts, Page, Section } from "../../parts/page";
import { type Kind, State } from "../../parts/state";
import { type Column, RowTable } from "../../parts/table";
import { Time } from "../../parts/time";
import { type PartVersions, sideBySide } from "./versions";

type View = Schemas["SystemView"];
type Instance = Schemas["InstanceView"];

const MARKS: Readonly<Record<string, Kind>> = {
  ready: "good",
  "not-ready": "bad",
  draining: "busy",
  silent: "bad",
};

/** Every process with its version, what waits, and what lags behind. */
export function System() {
  const system = useSystem();
  return (
    <Page title="System" actions={<CopyAs calls={() => [api.GET("/v1/system")]} />}>
      <Health />
      {system.data && (
        <>
          <Backlog view={system.data} />
          <Section title="Look closer">
            <p>
              What is wrong with DNS, ports, certificates, storage and accounts is found by the
              doctor, which sends a message through the whole system:
            </p>
            <Command text="posthorn doctor" />
            <div className="actions">
              <Links runbooks={system.data.runbooks_url} />
            </div>
          </Section>
          <Versions instances={system.data.instances} />
          <Section title="Processes">
            <RowTable
              caption="Table of processes"
              columns={PROCESSES}
              rows={system.data.instances}
              rowKey={(each) => `${each.part} ${each.instance}`}
            />
          </Section>
        </>
      )}
    </Page>
  );
}

/** Versions side by side: during a rollout, how many processes of each part run which. */
function Versions({ instances }: { instances: readonly Instance[] }) {
  const { versions, parts } = sideBySide(instances);
  if (versions.length === 0) return null;
  if (versions.length === 1)
    return (
      <Section title="Versions">
        <p>
          <State kind="good">{`Every process runs ${versions[0]}`}</State>
        </p>
      </Section>
    );
  return (
    <Section title="Versions">
      <p>
        <State kind="busy">{`${versions.length} versions run side by side`}</State>
      </p>
      <RowTable
        caption="Processes by version"
        columns={[
          { id: "part", title: "Part", cell: (each) => each.part },
          ...versions.map((version, at) => ({
            id: version,
            title: version,
            end: true,
            cell: (each: PartVersions) => each.numbers[at] || "",
          })),
        ]}
        rows={parts}
        rowKey={(each) => each.part}
      />
    </Section>
  );
}

/** The screens that show more of what may be wrong. */
function Links({ runbooks }: { runbooks: string | null }) {
  const can = useCan();
  return (
    <>
      {can("listDeadLetters") && <Link to="/dead-letters">Parked messages</Link>}
      {can("getDefence") && <Link to="/defence">Blocklists and scanners</Link>}
      {runbooks && (
        <a href={runbooks} rel="noreferrer">
          Runbooks
        </a>
      )}
    </>
  );
}

function Backlog({ view }: { view: View }) {
  const { ingest, dead, lags } = view;
  const unknown = <span className="weak">not known</span>;
  const lag = (seconds: number | null) => (seconds === null ? unknown : duration(seconds));
  return (
    <Section title="What waits">
      <Facts
        facts={[
          [
            "Accepted, not yet stored",
            ingest
              ? `${count(ingest.messages)} messages, ${size(ingest.size_bytes)}, ${count(ingest.retrying)} tried again`
              : unknown,
          ],
          ["The oldest of them", ingest?.oldest_at ? <Time at={ingest.oldest_at} /> : "none"],
          ["Parked messages", dead ? count(dead.messages) : unknown],
          [
            "Why they are parked",
            dead?.reasons.map((each) => `${each.reason} (${count(each.messages)})`).join("; ") ||
              "none",
          ],
          ["Changes of addresses behind by", lag(lags.directory_seconds)],
          ["Statistics and webhooks' events behind by", lag(lags.events_seconds)],
          ["Webhooks behind by", lag(lags.webhooks_seconds)],
          ["Schema", view.schema_version ?? unknown],
        ]}
      />
    </Section>
  );
}

const PROCESSES: readonly Column<Instance>[] = [
  { id: "part", title: "Part", cell: (each) => each.part },
  { id: "instance", title: "Instance", cell: (each) => each.instance },
  { id: "state", title: "State", cell: (each) => <Condition instance={each} /> },
  { id: "version", title: "Version", cell: (each) => each.version },
  { id: "since", title: "Since", cell: (each) => <Time at={each.since} /> },
  {
    id: "certificate",
    title: "Certificate ends",
    cell: (each) => (each.certificate_ends_at ? <Time at={each.certificate_ends_at} /> : ""),
  },
];

function Condition({ instance }: { instance: Instance }) {
  return (
    <>
      <State kind={MARKS[instance.state] ?? "warn"}>{instance.state}</State>
      {Object.entries(instance.reasons).map(([part, reason]) => (
        <p key={part}>
          {part}: {String(reason)}
        </p>
      ))}
    </>
  );
}
