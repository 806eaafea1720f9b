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
import { size } from "../../parts/moments";
import { Empty } from "../../parts/notices";
import { Page } from "../../parts/page";
import { State } from "../../parts/state";
import type { Column } from "../../parts/table";
import { Against, LIMITS, type Tenant } from "./fields";
import { FILTERS } from "./filters";

const route = getRouteApi("/tenants");

const COLUMNS: readonly Column<Tenant>[] = [
  {
    id: "name",
    title: "Tenant",
    sort: "name",
    cell: (tenant) => (
      <Link to="/tenants/$tenant" params={{ tenant: tenant.name }}>
        {tenant.name}
      </Link>
    ),
  },
  {
    id: "state",
    title: "State",
    cell: (tenant) => (
      <State kind={tenant.state === "active" ? "good" : "bad"}>{tenant.state}</State>
    ),
  },
  {
    id: "domains",
    title: "Domains",
    cell: (tenant) => (
      <Against
        used={tenant.domains}
        most={tenant.max_domains}
        label={`Domains of ${tenant.name}`}
      />
    ),
  },
  {
    id: "accounts",
    title: "Accounts",
    cell: (tenant) => (
      <Against
        used={tenant.accounts}
        most={tenant.max_accounts}
        label={`Accounts of ${tenant.name}`}
      />
    ),
  },
  {
    id: "promised",
    title: "Promised",
    cell: (tenant) => (
      <Against
        used={tenant.promised_bytes}
        most={tenant.quota_bytes}
        label={`Quotas of ${tenant.name}`}
        shown={size}
      />
    ),
  },
];

export function TenantList() {
  const can = useCan();
  const { create, import: _, ...filters } = route.useSearch();
  const navigate = useNavigate();
  const list = useList<Tenant>(["tenants", filters], (cursor) =>
    api.GET("/v1/tenants", {
      params: { query: { ...filters, limit: 100, cursor, total: cursor === null } },
    }),
  );
  const show = (isShown: boolean) =>
    void navigate({ to: "/tenants", search: { ...filters, ...(isShown ? { create: true } : {}) } });
  return (
    <Page
      title="Tenants"
      actions={can("createTenant") && <NewButton label="New tenant" open={() => show(true)} />}
    >
      <ListView
        filters={FILTERS}
        values={filters}
        go={(search) => void navigate({ to: "/tenants", search })}
        caption="Tenants"
        columns={COLUMNS}
        list={list}
        rowKey={(tenant) => tenant.id}
        empty={
          <Empty title="No tenant" command="posthorn tenant create acme">
            <p>A tenant is an organisation with its own domains, accounts and limits.</p>
          </Empty>
        }
      />
      {create && can("createTenant") && <NewTenant close={() => show(false)} />}
    </Page>
  );
}

function NewTenant({ close }: { close: () => void }) {
  const navigate = useNavigate();
  const create = useAction(
    ({ values, key }: { values: FormData; key: string }) =>
      api.POST("/v1/tenants", {
        body: valuesOf(LIMITS, values) as Schemas["TenantCreation"],
        headers: once(key),
      }),
    {
      changes: ["tenants"],
      said: (made) => `Created ${made.name}`,
      done: (made) => void navigate({ to: "/tenants/$tenant", params: { tenant: made.name } }),
    },
  );
  return (
    <Dialog title="New tenant" close={close}>
      <Form
        action={create}
        read={(values, key) => ({ values, key })}
        label="Create tenant"
        cancel={close}
      >
        <Inputs fields={LIMITS} values={{ verify_domains: true }} problem={create.error} />
      </Form>
    </Dialog>
  );
}
