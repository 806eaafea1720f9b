import { Link, Navigate } from "@tanstack/react-router";
import { answer, api, type Schemas, session } from "../../api/client";
import { useRefresh } from "../../api/events";
import { useCan, useMe } from "../../api/me";
import { useOne } from "../../api/queries";
import { Bars } from "../../parts/bars";
import { CopyAs } from "../../parts/copy-as";
import { Health } from "../../parts/health";
import { count, firstHour } from "../../parts/moments";
import { Empty, Failure, Loading, Notice } from "../../parts/notices";
import { Page, Section } from "../../parts/page";
import { SendTest } from "../../parts/send-test";
import { Checklist } from "./checklist";
import { Concerns, useConcerns, Waiting } from "./concerns";
import { isFound, nameOf, shown } from "./figures";

/** The first page: a person with an account is led to it. */
export function Home() {
  return useMe().data?.account ? <Navigate to="/me" replace /> : <Overview />;
}

/** Is all well, what happened in 24 hours, and what to do first on a new system. */
function Overview() {
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
      {can("getSystem") ? (
        <Health leads isAlone={isAllWell} />
      ) : (
        can("getStatus") && <Status isAlone={isAllWell} />
      )}
      {can("sendMessage") && !can("searchMessages") && (
        <Empty
          title="This key sends mail, and sees nothing else"
          command="posthorn send-test --help"
        >
          <p>Sign in with a key that may look, to see what becomes of the mail.</p>
        </Empty>
      )}
      <Concerns concerns={concerns} />
      <Checklist />
      {can("getStatsSeries") && <Day />}
      {can("listQueue") && <Waiting />}
    </Page>
  );
}

function Status({ isAlone }: { isAlone: boolean }) {
  const status = useOne(["status"], session.status, { every: 15 });
  if (status.isPending) return <Loading />;
  if (status.data === undefined) return <Failure problem={status.error} />;
  const faults = status.data.parts.filter((part) => part.state !== "ok");
  if (faults.length === 0)
    return <Notice kind="good" title={isAlone ? "All well" : "The API and its stores work"} />;
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
  const can = useCan();
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
    <Section title="Messages of the last 24 hours">
      <div className="cards">
        {shown(stats.data.series).map(({ outcome, total, messages }) => (
          <div className="card" key={outcome}>
            <p className="card-name">{nameOf(outcome)}</p>
            <p className="card-figure">
              {isFound(outcome) && can("searchMessages") && total > 0 ? (
                <Link
                  to="/find"
                  search={{ outcome, days: "1" }}
                  aria-label={`${nameOf(outcome)}: ${count(total)}, find them`}
                >
                  {count(total)}
                </Link>
              ) : (
                count(total)
              )}
            </p>
            <Bars values={messages} label={`${nameOf(outcome)}, by hour`} />
          </div>
        ))}
      </div>
    </Section>
  );
}
