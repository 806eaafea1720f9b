import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { answer, api } from "../../api/client";
import { useCan } from "../../api/me";
import { useOne } from "../../api/queries";
import { useSystem } from "../../parts/health";
import { count, size } from "../../parts/moments";
import { Notice } from "../../parts/notices";
import { Facts, Section } from "../../parts/page";
import { Time } from "../../parts/time";

const EVERY = 60;
const SHOWN = 5;

/** Ask for domains whose DNS records are wrong, and for webhooks that fail. */
export function useConcerns() {
  const can = useCan();
  const domains = useOne(
    ["domains", "wrong"],
    () =>
      answer(
        api.GET("/v1/domains", { params: { query: { dns: "wrong", limit: SHOWN, total: true } } }),
      ),
    { every: EVERY, enabled: can("listDomains") },
  ).data;
  const webhooks = useOne(
    ["webhooks", "failing"],
    () =>
      answer(
        api.GET("/v1/webhooks", {
          params: { query: { state: "failing", limit: SHOWN, total: true } },
        }),
      ),
    { every: EVERY, enabled: can("listWebhooks") },
  ).data;
  return { domains, webhooks };
}

/** What is not right, and where, besides the system itself. */
export function Concerns({ concerns }: { concerns: ReturnType<typeof useConcerns> }) {
  const { domains, webhooks } = concerns;
  return (
    <>
      {domains && domains.items.length > 0 && (
        <Concern
          title={many(domains, "domain has wrong DNS records", "domains have wrong DNS records")}
          more={
            <Link to="/domains" search={{ dns: "wrong" }}>
              Show in the list
            </Link>
          }
        >
          {domains.items.map(({ name, display_name }) => (
            <li key={name}>
              <Link to="/domains/$name" params={{ name }}>
                {display_name}
              </Link>
            </li>
          ))}
        </Concern>
      )}
      {webhooks && webhooks.items.length > 0 && (
        <Concern
          title={many(webhooks, "webhook fails", "webhooks fail")}
          more={
            <Link to="/webhooks" search={{ state: "failing" }}>
              Show in the list
            </Link>
          }
        >
          {webhooks.items.map(({ id, url }) => (
            <li key={id}>
              <Link to="/webhooks/$id" params={{ id }}>
                {url}
              </Link>
            </li>
          ))}
        </Concern>
      )}
    </>
  );
}

function Concern(properties: { title: string; more: ReactNode; children: ReactNode }) {
  const { title, more, children } = properties;
  return (
    <Notice kind="warn" title={title}>
      <ul>{children}</ul>
      <p>{more}</p>
    </Notice>
  );
}

function many(
  list: { items: readonly unknown[]; total?: number | null },
  one: string,
  more: string,
) {
  const number = list.total ?? list.items.length;
  return number === 1 ? `1 ${one}` : `${count(number)} ${more}`;
}

/** What is on its way: accepted and not stored yet, in the queue, parked; and since when. */
export function Waiting() {
  const can = useCan();
  const oldest = useOne(
    ["queue", "oldest"],
    () =>
      answer(
        api.GET("/v1/queue", {
          params: { query: { state: "waiting", sort: "created", limit: 1, total: true } },
        }),
      ),
    { every: EVERY, enabled: can("listQueue") },
  ).data;
  return (
    <Section title="What waits">
      <Facts
        facts={[
          ...(oldest
            ? [
                [
                  "In the queue",
                  <Link key="queue" to="/queue">
                    {many(oldest, "recipient", "recipients")}
                  </Link>,
                ] as const,
                [
                  "Oldest in the queue",
                  oldest.items[0] ? (
                    <Time key="at" at={oldest.items[0].created_at} />
                  ) : (
                    "none waits"
                  ),
                ] as const,
              ]
            : []),
        ]}
      />
      {can("getSystem") && <Stored />}
    </Section>
  );
}

function Stored() {
  const can = useCan();
  const system = useSystem().data;
  if (system === undefined) return null;
  const { ingest, dead } = system;
  const unknown = "not known";
  return (
    <Facts
      facts={[
        [
          "Accepted, not yet stored",
          ingest ? `${count(ingest.messages)} messages, ${size(ingest.size_bytes)}` : unknown,
        ],
        [
          "Waiting to be stored since",
          ingest?.oldest_at ? <Time at={ingest.oldest_at} /> : "none waits",
        ],
        [
          "Parked messages",
          dead && can("listDeadLetters") ? (
            <Link to="/dead-letters">{count(dead.messages)}</Link>
          ) : (
            unknown
          ),
        ],
      ]}
    />
  );
}
