import { Link } from "@tanstack/react-router";
import { answer, api } from "../../api/client";
import { useCan } from "../../api/me";
import { useOne } from "../../api/queries";
import { SendTest } from "../../parts/send-test";
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
  const messages = useOne(
    ["messages", "first"],
    () => answer(api.GET("/v1/messages", { params: { query: { limit: 1 } } })),
    { every: 30, enabled: mayAsk && can("searchMessages") && accounts.data?.items.length !== 0 },
  );
  if (domains.data === undefined || accounts.data === undefined) return null;
  const domain = domains.data.items[0];
  const hasAccount = accounts.data.items.length > 0;
  /* a caller who may not search has the last step behind them with the account */
  const hasMessage = messages.data === undefined || messages.data.items.length > 0;
  if (domain !== undefined && hasAccount && hasMessage) return null;
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
          <Step isDone={hasAccount} />
          <Link
            to="/accounts"
            search={domain ? { domain: domain.name, create: true } : { create: true }}
          >
            Create the first account
          </Link>
        </li>
        <li>
          <Step isDone={hasAccount && hasMessage} />
          {hasAccount ? <SendTest label="Send the first message…" /> : "Send the first message"}
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
