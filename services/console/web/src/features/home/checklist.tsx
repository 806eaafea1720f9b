import { Link } from "@tanstack/react-router";
import { answer, api } from "../../api/client";
import { useCan } from "../../api/me";
import { useOne } from "../../api/queries";
import { State } from "../../parts/state";

/** The first steps on a system that has no domain of its own or no account yet. */
export function Checklist() {
  const can = useCan();
  const mayAsk = can("listDomains") && can("listAccounts");
  const domains = useOne(
    ["domains", "first"],
    () => answer(api.GET("/v1/domains", { params: { query: { limit: 1 } } })),
    { enabled: mayAsk },
  );
  const accounts = useOne(
    ["accounts", "first"],
    () => answer(api.GET("/v1/accounts", { params: { query: { limit: 1 } } })),
    { enabled: mayAsk },
  );
  if (domains.data === undefined || accounts.data === undefined) return null;
  const domain = domains.data.items[0];
  if (domain !== undefined && accounts.data.items.length > 0) return null;
  return (
    <section aria-labelledby="first">
      <h2 id="first">First steps</h2>
      <ol className="checklist">
        <li>
          <Step isDone={domain !== undefined} />
          <Link to="/domains" search={{ create: true }}>
            Create your domain
          </Link>
        </li>
        <li>
          <Step isDone={domain?.dns_state === "right"} />
          {domain ? (
            <Link to="/domains/$name" params={{ name: domain.name }}>
              Publish its DNS records
            </Link>
          ) : (
            "Publish its DNS records"
          )}
        </li>
        <li>
          <Step isDone={accounts.data.items.length > 0} />
          <Link
            to="/accounts"
            search={domain ? { domain: domain.name, create: true } : { create: true }}
          >
            Create the first account
          </Link>
          , and send it a test message
        </li>
      </ol>
    </section>
  );
}

function Step({ isDone }: { isDone: boolean }) {
  return (
    <>
      <State kind={isDone ? "good" : "idle"}>{isDone ? "Done" : "To do"}</State>{" "}
    </>
  );
}
