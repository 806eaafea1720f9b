import { getRouteApi, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { api, once, only, type Schemas, tagged } from "../../api/client";
import { useCan } from "../../api/me";
import { useAction, useList, useOne } from "../../api/queries";
import { ActionButton, Removal } from "../../parts/actions";
import { Confirm } from "../../parts/confirm";
import { CopyAs } from "../../parts/copy-as";
import { Edit } from "../../parts/edit";
import { FilterBar } from "../../parts/filter-bar";
import { Managed, restored, setBack } from "../../parts/managed";
import { count } from "../../parts/moments";
import { Failure, Loading } from "../../parts/notices";
import { Facts, Page, Section } from "../../parts/page";
import { choiceIn } from "../../parts/search";
import { Secret } from "../../parts/secret";
import { type Kind, State } from "../../parts/state";
import { type Column, DataTable } from "../../parts/table";
import { Time } from "../../parts/time";
import { FIELDS, WEBHOOK_MARKS, type Webhook } from "./fields";
import { DELIVERY_STATES } from "./states";
import { Verifying } from "./verifying";

type Delivery = Schemas["DeliveryView"];

const route = getRouteApi("/webhooks/$id");
const DELIVERY_MARKS: Readonly<Record<Delivery["state"], Kind>> = {
  waiting: "busy",
  delivered: "good",
  failed: "bad",
};

/** A webhook: what it was told, and what it answered. */
export function WebhookPage() {
  const { id } = route.useParams();
  const can = useCan();
  const path = { id };
  const ask = () => tagged(api.GET("/v1/webhooks/{id}", { params: { path } }));
  const webhook = useOne(["webhooks", "one", id], ask);
  if (webhook.data === undefined)
    return (
      <Page title="Webhook">
        {webhook.isPending ? <Loading /> : <Failure problem={webhook.error} />}
      </Page>
    );
  const { value } = webhook.data;
  return (
    <Page
      title="Webhook"
      actions={
        <>
          <Managed mark={value.managed_by} />
          <CopyAs calls={() => [api.GET("/v1/webhooks/{id}", { params: { path } })]} />
          <Actions webhook={value} />
        </>
      }
    >
      <Facts
        facts={[
          ["URL", value.url],
          [
            "State",
            <State key="state" kind={WEBHOOK_MARKS[value.state]}>
              {value.state}
            </State>,
          ],
          ["Events", value.events.join(", ")],
          ["Domain", value.domain ?? "all"],
          ["Tenant", value.tenant ?? "whole platform"],
          ["Created", <Time key="created" at={value.created_at} />],
        ]}
      />
      {can("listWebhookDeliveries") && <Deliveries id={id} />}
      <Verifying />
      {can("changeWebhook") && (
        <Section title="Settings">
          <Edit
            fields={FIELDS}
            managed={value.managed_by}
            read={webhook.data}
            ask={ask}
            save={(change, tag) =>
              api.PATCH("/v1/webhooks/{id}", {
                params: { path, header: only(tag) },
                body: change,
              })
            }
            changes={["webhooks"]}
            said="Changed the webhook"
          />
        </Section>
      )}
    </Page>
  );
}

function Actions({ webhook }: { webhook: Webhook }) {
  const can = useCan();
  const navigate = useNavigate();
  const path = { id: webhook.id };
  const next = webhook.state === "paused" ? "active" : "paused";
  return (
    <>
      {can("testWebhook") && (
        <ActionButton
          label="Send a test"
          call={() => api.POST("/v1/webhooks/{id}/test", { params: { path } })}
          changes={["webhook-deliveries"]}
          said={() => "A test is on its way"}
        />
      )}
      {can("changeWebhook") && (
        <ActionButton
          label={next === "paused" ? "Pause" : "Resume"}
          call={() => api.PATCH("/v1/webhooks/{id}", { params: { path }, body: { state: next } })}
          changes={["webhooks"]}
          said={(changed) =>
            `The webhook is ${changed.state}${setBack(changed.managed_by, "state")}`
          }
          undo={() =>
            api.PATCH("/v1/webhooks/{id}", {
              params: { path },
              body: { state: next === "paused" ? "active" : "paused" },
            })
          }
        />
      )}
      {can("rotateWebhookSecret") && <Rotate id={webhook.id} />}
      {can("deleteWebhook") && (
        <Removal
          title="Delete webhook"
          text={`${webhook.url} is told nothing from then on.${restored(webhook.managed_by)}`}
          call={() => api.DELETE("/v1/webhooks/{id}", { params: { path } })}
          changes={["webhooks"]}
          said="Deleted the webhook"
          done={() => void navigate({ to: "/webhooks" })}
        />
      )}
    </>
  );
}

function Rotate({ id }: { id: string }) {
  const [key, setKey] = useState<string | null>(null);
  const [secret, setSecret] = useState<string | null>(null);
  const rotate = useAction(
    (onceKey: string) =>
      api.POST("/v1/webhooks/{id}/rotate", { params: { path: { id } }, headers: once(onceKey) }),
    {
      changes: ["webhooks"],
      said: () => "The webhook has a new secret",
      done: (made) => {
        setKey(null);
        setSecret(made.secret);
      },
    },
  );
  return (
    <>
      <button type="button" onClick={() => setKey(crypto.randomUUID())}>
        Rotate secret…
      </button>
      {key !== null && (
        <Confirm
          title="Rotate secret"
          text="Requests are signed with the new secret from then on: store it in the receiver."
          label="Rotate secret"
          action={rotate}
          input={key}
          close={() => setKey(null)}
        />
      )}
      {secret !== null && (
        <Secret
          title="The new secret"
          what="secret"
          secret={secret}
          close={() => setSecret(null)}
        />
      )}
    </>
  );
}

function Deliveries({ id }: { id: string }) {
  const can = useCan();
  const { state } = route.useSearch();
  const navigate = useNavigate();
  const list = useList<Delivery>(
    ["webhook-deliveries", id, state ?? "any"],
    (cursor) =>
      api.GET("/v1/webhooks/{id}/deliveries", {
        params: {
          path: { id },
          query: { ...(state ? { state } : {}), limit: 50, cursor },
        },
      }),
    { every: 10 },
  );
  const columns: readonly Column<Delivery>[] = [
    { id: "created", title: "Time", cell: (each) => <Time at={each.created_at} /> },
    { id: "event", title: "Event", cell: (each) => each.event_type },
    {
      id: "state",
      title: "State",
      cell: (each) => <State kind={DELIVERY_MARKS[each.state]}>{each.state}</State>,
    },
    { id: "attempts", title: "Attempts", end: true, cell: (each) => each.attempts },
    {
      id: "next",
      title: "Next attempt",
      cell: (each) => each.next_attempt_at && <Time at={each.next_attempt_at} />,
    },
    { id: "status", title: "Status", cell: (each) => each.last_status ?? "" },
    { id: "reply", title: "Answer", cell: (each) => each.last_reply },
    {
      id: "payload",
      title: "Payload",
      cell: (each) => (
        <details>
          <summary>Show</summary>
          <pre className="json">{JSON.stringify(each.event, null, 2)}</pre>
        </details>
      ),
    },
    ...(can("replayWebhookDelivery")
      ? [{ id: "replay", title: "Replay", cell: (each: Delivery) => <Replay id={id} row={each} /> }]
      : []),
  ];
  const mayHaveFailed =
    list.query.hasNextPage || list.items.some((each) => each.state === "failed");
  return (
    <Section title="Deliveries">
      <FilterBar
        filters={[{ name: "state", label: "State", options: DELIVERY_STATES }]}
        values={{ state }}
        apply={(values) =>
          void navigate({
            to: "/webhooks/$id",
            params: { id },
            search: choiceIn(values, "state", DELIVERY_STATES),
          })
        }
      />
      {can("replayFailedWebhookDeliveries") && mayHaveFailed && (
        <div className="filters">
          <ActionButton
            label="Replay all failed"
            call={() =>
              api.POST("/v1/webhooks/{id}/deliveries/replay", { params: { path: { id } } })
            }
            changes={["webhook-deliveries"]}
            said={({ replayed, left }) =>
              `Tried again: ${count(replayed)}${left > 0 ? `; press again for the ${count(left)} left` : ""}`
            }
          />
        </div>
      )}
      <DataTable
        caption="Deliveries of the webhook"
        columns={columns}
        list={list}
        rowKey={(each) => each.id}
        empty={<p className="weak">None</p>}
      />
    </Section>
  );
}

function Replay({ id, row }: { id: string; row: Delivery }) {
  return (
    <ActionButton
      label="Replay"
      name={`Replay ${row.event_type} of ${row.created_at}`}
      call={() =>
        api.POST("/v1/webhooks/{id}/deliveries/{delivery}/replay", {
          params: { path: { id, delivery: row.id } },
        })
      }
      changes={["webhook-deliveries"]}
      said={() => "The delivery is tried again"}
    />
  );
}
