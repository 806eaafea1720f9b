import { getRouteApi, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { api, once, type Schemas } from "../../api/client";
import { useCan, useMe } from "../../api/me";
import { useAction, useList } from "../../api/queries";
import { NewButton, Removal } from "../../parts/actions";
import { Dialog } from "../../parts/dialog";
import { Inputs } from "../../parts/edit";
import { type EditedField, valuesOf } from "../../parts/edits";
import { Choice, Field, Form, Tick } from "../../parts/form";
import { ListView } from "../../parts/list-view";
import { Empty } from "../../parts/notices";
import { Page } from "../../parts/page";
import { Secret } from "../../parts/secret";
import type { Column } from "../../parts/table";
import { Time } from "../../parts/time";

type Key = Schemas["ApiKeyView"];

import { EndSessions } from "./end-sessions";
import { FILTERS } from "./filters";

const route = getRouteApi("/keys");

const MAY: Readonly<Record<Key["role"], string>> = {
  "platform-admin": "everything, of all tenants",
  "tenant-admin": "everything of its tenant",
  "read-only": "look, and change nothing",
  "send-only": "send messages",
};

const BOUNDS: readonly EditedField[] = [
  { name: "expires_at", label: "Expires", kind: "day", hint: "Empty: never." },
  {
    name: "networks",
    label: "Networks that it may be used from",
    kind: "lines",
    hint: "CIDR, one a line; empty: any.",
  },
];

const COLUMNS: readonly Column<Key>[] = [
  { id: "name", title: "Name", sort: "name", cell: (key) => key.name },
  {
    id: "may",
    title: "May",
    cell: (key) => `${MAY[key.role]}${key.message_content ? ", read content" : ""}`,
  },
  { id: "tenant", title: "Tenant", cell: (key) => key.tenant ?? "whole platform" },
  {
    id: "used",
    title: "Last used",
    sort: "used",
    cell: (key) => (
      <>
        <Time at={key.last_used_at} />
        {key.last_used_address && <span className="weak"> from {key.last_used_address}</span>}
      </>
    ),
  },
  {
    id: "expires",
    title: "Expires",
    cell: (key) => (key.expires_at === null ? "never" : <Time at={key.expires_at} />),
  },
  { id: "networks", title: "Networks", cell: (key) => key.networks?.join(", ") ?? "any" },
  { id: "created", title: "Created", sort: "created", cell: (key) => <Time at={key.created_at} /> },
];

export function KeyList() {
  const can = useCan();
  const { create, import: _, ...filters } = route.useSearch();
  const navigate = useNavigate();
  const list = useList<Key>(["keys", filters], (cursor) =>
    api.GET("/v1/api-keys", {
      params: { query: { ...filters, limit: 100, cursor, total: cursor === null } },
    }),
  );
  const show = (isShown: boolean) =>
    void navigate({ to: "/keys", search: { ...filters, ...(isShown ? { create: true } : {}) } });
  const columns: readonly Column<Key>[] = [
    ...COLUMNS,
    ...(can("deleteApiKey")
      ? [{ id: "delete", title: "Delete", cell: (key: Key) => <Delete row={key} /> }]
      : []),
  ];
  return (
    <Page
      title="API keys"
      actions={
        <>
          <EndSessions />
          {can("createApiKey") && <NewButton label="New key" open={() => show(true)} />}
        </>
      }
    >
      <ListView
        filters={FILTERS}
        values={filters}
        go={(search) => void navigate({ to: "/keys", search })}
        caption="API keys"
        columns={columns}
        list={list}
        rowKey={(key) => key.id}
        empty={
          <Empty title="No API key" command="posthorn key create deploy --role send-only">
            <p>A key lets a program use the API, with no more rights than it needs.</p>
          </Empty>
        }
      />
      {create && can("createApiKey") && <NewKey close={() => show(false)} />}
    </Page>
  );
}

function Delete({ row }: { row: Key }) {
  return (
    <Removal
      title="Delete key"
      name={`Delete ${row.name}`}
      text={`What uses ${row.name} is refused at once, and sessions that it opened end.`}
      call={() => api.DELETE("/v1/api-keys/{id}", { params: { path: { id: row.id } } })}
      changes={["keys"]}
      said={`Deleted ${row.name}`}
    />
  );
}

function NewKey({ close }: { close: () => void }) {
  const me = useMe().data;
  const [secret, setSecret] = useState<string | null>(null);
  const create = useAction(
    ({ values, key }: { values: FormData; key: string }) => {
      const tenant = String(values.get("tenant") ?? "").trim();
      return api.POST("/v1/api-keys", {
        body: {
          name: String(values.get("name")).trim(),
          role: String(values.get("role")) as Key["role"],
          tenant: tenant === "" ? null : tenant,
          ...valuesOf(BOUNDS, values),
          message_content: values.get("message_content") !== null,
        },
        headers: once(key),
      });
    },
    {
      changes: ["keys"],
      said: (made) => `Created ${made.name}`,
      done: (made) => (made.key === null ? close() : setSecret(made.key)),
    },
  );
  if (secret !== null)
    return <Secret title="The new key" what="API key" secret={secret} close={close} />;
  const isOfTenant = me?.tenant !== null;
  const roles = (Object.keys(MAY) as Key["role"][]).filter(
    (role) => !(isOfTenant && role === "platform-admin"),
  );
  return (
    <Dialog title="New API key" close={close}>
      <Form
        action={create}
        read={(values, key) => ({ values, key })}
        label="Create key"
        cancel={close}
      >
        <Field
          name="name"
          label="Name"
          hint="The program or person that uses it."
          problem={create.error}
          autoComplete="off"
          required
        />
        <Choice
          name="role"
          label="It may"
          defaultValue="read-only"
          options={roles.map((role) => [role, MAY[role]] as const)}
          problem={create.error}
        />
        {!isOfTenant && (
          <Field
            name="tenant"
            label="Tenant"
            hint="Name of the tenant; empty: the whole platform."
            problem={create.error}
            autoComplete="off"
          />
        )}
        <Inputs fields={BOUNDS} values={{}} problem={create.error} />
        <Tick
          name="message_content"
          label="It may read the content of messages"
          hint="Each use is shown to the account's owner."
        />
      </Form>
    </Dialog>
  );
}
