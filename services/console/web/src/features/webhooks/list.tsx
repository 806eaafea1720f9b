import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { api, once, type Schemas } from "../../api/client";
import { useCan } from "../../api/me";
import { useAction, useList } from "../../api/queries";
import { NewButton } from "../../parts/actions";
import { Dialog } from "../../parts/dialog";
import { Inputs } from "../../parts/edit";
import { valuesOf } from "../../parts/edits";
import { Form } from "../../parts/form";
import { ListView } from "../../parts/list-view";
import { Managed } from "../../parts/managed";
import { Empty } from "../../parts/notices";
import { Page } from "../../parts/page";
import { Secret } from "../../parts/secret";
import { State } from "../../parts/state";
import type { Column } from "../../parts/table";
import { Time } from "../../parts/time";
import { FIELDS, WEBHOOK_MARKS, type Webhook } from "./fields";
import { FILTERS } from "./filters";

const route = getRouteApi("/webhooks");

const COLUMNS: readonly Column<Webhook>[] = [
  {
    id: "url",
    title: "URL",
    sort: "url",
    cell: (webhook) => (
      <>
        <Link to="/webhooks/$id" params={{ id: webhook.id }}>
          {webhook.url}
        </Link>{" "}
        <Managed mark={webhook.managed_by} />
      </>
    ),
  },
  {
    id: "state",
    title: "State",
    cell: (webhook) => <State kind={WEBHOOK_MARKS[webhook.state]}>{webhook.state}</State>,
  },
  { id: "events", title: "Events", cell: (webhook) => webhook.events.join(", ") },
  { id: "domain", title: "Domain", cell: (webhook) => webhook.domain ?? "all" },
  {
    id: "created",
    title: "Created",
    sort: "created",
    cell: (webhook) => <Time at={webhook.created_at} />,
  },
];

export function WebhookList() {
  const can = useCan();
  const { create, import: _, ...filters } = route.useSearch();
  const navigate = useNavigate();
  const list = useList<Webhook>(["webhooks", filters], (cursor) =>
    api.GET("/v1/webhooks", {
      params: { query: { ...filters, limit: 100, cursor, total: cursor === null } },
    }),
  );
  const show = (isShown: boolean) =>
    void navigate({
      to: "/webhooks",
      search: { ...filters, ...(isShown ? { create: true } : {}) },
    });
  return (
    <Page
      title="Webhooks"
      actions={can("createWebhook") && <NewButton label="New webhook" open={() => show(true)} />}
    >
      <ListView
        filters={FILTERS}
        values={filters}
        go={(search) => void navigate({ to: "/webhooks", search })}
        caption="Webhooks"
        columns={COLUMNS}
        list={list}
        rowKey={(webhook) => webhook.id}
        empty={
          <Empty
            title="No webhook"
            command="posthorn webhook create https://hooks.example.org/mail"
          >
            <p>A webhook is a URL that is told what happens to messages.</p>
          </Empty>
        }
      />
      {create && can("createWebhook") && <NewWebhook close={() => show(false)} />}
    </Page>
  );
}

function NewWebhook({ close }: { close: () => void }) {
  const [secret, setSecret] = useState<string | null>(null);
  const create = useAction(
    ({ values, key }: { values: FormData; key: string }) =>
      api.POST("/v1/webhooks", {
        body: valuesOf(FIELDS, values) as Schemas["WebhookCreation"],
        headers: once(key),
      }),
    {
      changes: ["webhooks"],
      said: (made) => `Created the webhook ${made.url}`,
      done: (made) => (made.secret === null ? close() : setSecret(made.secret)),
    },
  );
  if (secret !== null)
    return (
      <Secret
        title="The secret that signs its requests"
        what="secret"
        secret={secret}
        close={close}
      />
    );
  return (
    <Dialog title="New webhook" close={close}>
      <Form
        action={create}
        read={(values, key) => ({ values, key })}
        label="Create webhook"
        cancel={close}
      >
        <Inputs fields={FIELDS} values={{ events: ["*"] }} problem={create.error} />
      </Form>
    </Dialog>
  );
}
