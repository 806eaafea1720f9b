import { Link } from "@tanstack/react-router";
import { answer, api, type Schemas } from "../../api/client";
import { useCan } from "../../api/me";
import { useOne } from "../../api/queries";
import { Bars } from "../../parts/bars";
import { Health } from "../../parts/health";
import { count } from "../../parts/moments";
import { Failure, Loading, Notice } from "../../parts/notices";
import { Page } from "../../parts/page";
import { SendTest } from "../../parts/send-test";
import { Checklist } from "./checklist";
import { hours, type Series, sumsOf } from "./figures";

/** Is all well, what happened in 24 hours, and what to do first on a new system. */
export function Home() {
  const can = useCan();
  return (
    <Page title="Home" actions={<SendTest />}>
      {can("changeMyPassword") && (
        <p>
          <Link to="/me">My account</Link>: passwords, set-up of your phone, sign-ins, withheld and
          deleted mail, automatic reply.
        </p>
      )}
      {can("getSystem") ? <Health leads /> : can("getStatus") && <Status />}
      <Checklist />
      {can("listStats") && <Day />}
    </Page>
  );
}

function Status() {
  const status = useOne(["status"], () => answer(api.GET("/v1/status")), { every: 15 });
  if (status.isPending) return <Loading />;
  if (status.data === undefined) return <Failure problem={status.error} />;
  const faults = status.data.parts.filter((part) => part.state !== "ok");
  if (faults.length === 0)
    return <Notice kind="good" title="All well: every part of the API works." />;
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

function Day() {
  const since = new Date(Math.floor(Date.now() / 3600_000) * 3600_000 - 23 * 3600_000);
  const stats = useOne<Schemas["StatsView"][]>(
    ["stats", since.toISOString()],
    async () => {
      const found: Schemas["StatsView"][] = [];
      let cursor: string | null = null;
      do {
        const page: Schemas["Page_StatsView_"] = await answer(
          api.GET("/v1/stats", {
            params: { query: { since: since.toISOString(), by: "hour", limit: 500, cursor } },
          }),
        );
        found.push(...page.items);
        cursor = page.next_cursor;
      } while (cursor !== null && found.length < 5000);
      return found;
    },
    { every: 60 },
  );
  if (stats.isPending) return <Loading />;
  if (stats.data === undefined) return <Failure problem={stats.error} />;
  const series = hours(stats.data, since);
  return (
    <section aria-labelledby="day">
      <h2 id="day">The last 24 hours</h2>
      <div className="cards">
        {sumsOf(series).map((sum) => (
          <Card key={sum.outcome} series={series} outcome={sum.outcome} total={sum.messages} />
        ))}
      </div>
    </section>
  );
}

function Card(properties: { series: Series; outcome: string; total: number }) {
  const { series, outcome, total } = properties;
  return (
    <div className="card">
      <p className="card-name">{outcome}</p>
      <p className="card-figure">{count(total)}</p>
      <Bars
        values={series.map((hour) => hour.counts[outcome] ?? 0)}
        label={`${outcome}: ${count(total)} in 24 hours`}
      />
    </div>
  );
}
