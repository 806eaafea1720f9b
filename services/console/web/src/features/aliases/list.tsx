import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
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
import type { Column } from "../../parts/table";
import { Time } from "../../parts/time";
import { ADDRESS, TARGETS, Targets } from "./targets";

type Alias = Schemas["AliasView"];

import { FILTERS } from "./filters";

const route = getRouteApi("/aliases");

const COLUMNS: readonly Column<Alias>[] = [
  {
    id: "address",
    title: "Alias",
    sort: "address",
    cell: (alias) => (
      <>
        <Link to="/aliases/$address" params={{ address: alias.address }}>
          {alias.address}
        </Link>{" "}
        <Managed mark={alias.managed_by} />
      </>
    ),
  },
  { id: "targets", title: "Leads to", cell: (alias) => <Targets alias={alias} /> },
  {
    id: "created",
    title: "Created",
    sort: "created",
    cell: (alias) => <Time at={alias.created_at} />,
  },
];

export function AliasList() {
  const can = useCan();
  const { create, import: _, ...filters } = route.useSearch();
  const navigate = useNavigate();
  const list = useList<Alias>(["aliases", filters], (cursor) =>
    api.GET("/v1/aliases", {
      params: { query: { ...filters, limit: 100, cursor, total: cursor === null } },
    }),
  );
  const show = (isShown: boolean) =>
    void navigate({ to: "/aliases", search: { ...filters, ...(isShown ? { create: true } : {}) } });
  return (
    <Page
      title="Aliases"
      actions={can("createAlias") && <NewButton label="New alias" open={() => show(true)} />}
    >
      <ListView
        filters={FILTERS}
        values={filters}
        go={(search) => void navigate({ to: "/aliases", search })}
        caption="Aliases"
        columns={COLUMNS}
        list={list}
        rowKey={(alias) => alias.address}
        empty={
          <Empty
            title="No alias"
            command="posthorn alias create team@example.org carol@example.org"
          >
            <p>An alias is an address whose mail goes to other addresses.</p>
          </Empty>
        }
      />
      {create && can("createAlias") && <NewAlias close={() => show(false)} />}
    </Page>
  );
}

function NewAlias({ close }: { close: () => void }) {
  const fields = [ADDRESS, TARGETS];
  const create = useAction(
    ({ values, key }: { values: FormData; key: string }) =>
      api.POST("/v1/aliases", {
        body: valuesOf(fields, values) as Schemas["AliasCreation"],
        headers: once(key),
      }),
    {
      changes: ["aliases"],
      said: (alias) => `Created ${alias.address}`,
      done: close,
    },
  );
  return (
    <Dialog title="New alias" close={close}>
      <Form
        action={create}
        read={(values, key) => ({ values, key })}
        label="Create alias"
        cancel={close}
      >
        <Inputs fields={fields} values={{}} problem={create.error} />
      </Form>
    </Dialog>
  );
}
