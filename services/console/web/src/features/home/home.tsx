import { Link } from "@tanstack/react-router";
import { answer, api, type Schemas, session } from "../../api/client";
import { useRefresh } from "../../api/events";
import { useCan } from "../../api/me";
import { useOne } from "../../api/queries";
import { Bars } from "../../parts/bars";
import { CopyAs } from "../../parts/copy-as";
import { Health } from "../../parts/health";
import { count, firstHour } from "../../parts/moments";
import { Failure, Loading, Notice } from "../../parts/notices";
import { Page, Section } from "../../parts/page";
import { SendTest } from "../../parts/send-test";
import { Checklist } from "./checklist";
import { Concerns, useConcerns, Waiting } from "./concerns";
import { nameOf, shown } from "./figures";

/** Is all well, what happened in 24 hours, and what to do first on a new system. */
export function Home() {
  const can = useCan();
  const concerns = useConcerns();
  const isAllWell = !concerns.domains?.items.length && !concerns.webhooks?.items.length;
  return (
    <Page
      title="Home"
      actions={
        <>
          <SendTest />
          <CopyAs
            calls={() => [
              ...(can("getSystem") ? [api.GET("/v1/system")] : []),
              ...(can("getStatsSeries") ? [seriesOf(firstHour(Date.now()))] : []),
            ]}
          />
        </>
      }
    >
      {can("changeMyPassword") && (
        <p>
          <Link to="/me">My account</Link>: passwords, set-up of your phone, sign-ins, withheld and
          deleted mail, automatic reply, forwards.
        </p>
      )}
      {can("getSystem") ? (
        <Health leads isAllWell={isAllWell} />
      ) : (
        can("getStatus") && <Status isAllWell={isAllWell} />
      )}
      <Concerns concerns={concerns} />
      <Checklist />
      {can("getStatsSeries") && <Day />}
      {can("listQueue") && <Waiting />}
    </Page>
  );
}

function Status({ isAllWell }: { isAllWell: boolean }) {
  const status = useOne(["status"], session.status, { every: 15 });
  if (status.isPending) return <Loading />;
  if (status.data === undefined) return <Failure problem={status.error} />;
  const faults = status.data.parts.filter((part) => part.state !== "ok");
  if (faults.length === 0)
    return isAllWell && <Notice kind="good" title="All well: every part of the API works." />;
  return (
    <Notice kind="bad" title={`${faults.length} of ${status.data.parts.length} parts do not work`}>
      <ul>
        {faults.map((part) => (
          <li key={part.name}>
            <strong>{part.name}</strong>: {part.state}
          </li>
        ))}
      </ul>
    </Notice>
  );
}

function seriesOf(since: string) {
  return api.GET("/v1/stats/series", { params: { query: { since, by: "hour" } } });
}

/** Events that the figures count. */
const COUNTED = ["accepted", "delivered", "deferred", "bounced", "refused"] as const;

function Day() {
  useRefresh("stats", COUNTED);
  const since = firstHour(Date.now());
  const stats = useOne<Schemas["StatsSeriesView"]>(
    ["stats", since],
    () => answer(seriesOf(since)),
    { every: 60 },
  );
  if (stats.isPending) return <Loading />;
  if (stats.data === undefined) return <Failure problem={stats.error} />;
  return (
    <Section title="The last 24 hours">
      <div className="cards">
        {shown(stats.data.series).map((each) => (
          <div className="card" key={each.outcome}>
            <p className="card-name">{nameOf(each.outcome)}</p>
            <p className="card-figure">{count(each.total)}</p>
            <Bars
              values={each.messages}
              label={`${nameOf(each.outcome)}: ${count(each.total)} in 24 hours`}
            />
          </div>
        ))}
      </div>
    </Section>
  );
}
