import type { Schemas } from "../../api/client";
import { CopyAs } from "../../parts/copy-as";
import { Health, useSystem } from "../../parts/health";
import { count, duration, size } from "../../parts/moments";
import { Facts, Page } from "../../parts/page";
import { type Kind, State } from "../../parts/state";
import { Time } from "../../parts/time";

type View = Schemas["SystemView"];

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
    <Page
      title="System"
      actions={<CopyAs command="posthorn system" request={{ method: "GET", path: "/v1/system" }} />}
    >
      <Health />
      {system.data && (
        <>
          <Backlog view={system.data} />
          <Instances view={system.data} />
        </>
      )}
    </Page>
  );
}

function Backlog({ view }: { view: View }) {
  const { ingest, dead, lags } = view;
  const unknown = <span className="weak">not known</span>;
  const lag = (seconds: number | null) => (seconds === null ? unknown : duration(seconds));
  return (
    <section aria-labelledby="backlog">
      <h2 id="backlog">What waits</h2>
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
    </section>
  );
}

function Instances({ view }: { view: View }) {
  return (
    <section aria-labelledby="instances">
      <h2 id="instances">Processes</h2>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls takes the arrow keys */}
      <section className="table-frame" tabIndex={0} aria-label="Table of processes">
        <table>
          <caption className="unseen">Processes</caption>
          <thead>
            <tr>
              <th scope="col">Part</th>
              <th scope="col">Instance</th>
              <th scope="col">State</th>
              <th scope="col">Version</th>
              <th scope="col">Since</th>
              <th scope="col">Certificate ends</th>
            </tr>
          </thead>
          <tbody>
            {view.instances.map((each) => (
              <tr key={`${each.part} ${each.instance}`} data-row>
                <td>{each.part}</td>
                <td>{each.instance}</td>
                <td>
                  <State kind={MARKS[each.state] ?? "warn"}>{each.state}</State>
                  {Object.entries(each.reasons).map(([part, reason]) => (
                    <p key={part}>
                      {part}: {String(reason)}
                    </p>
                  ))}
                </td>
                <td>{each.version}</td>
                <td>
                  <Time at={each.since} />
                </td>
                <td>{each.certificate_ends_at ? <Time at={each.certificate_ends_at} /> : ""}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>
    </section>
  );
}
