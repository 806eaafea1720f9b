import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { answer, api, once, type Schemas } from "../../api/client";
import { useCan, useMe } from "../../api/me";
import { useAction, useList, useOne } from "../../api/queries";
import { ActionButton, NewButton } from "../../parts/actions";
import { Dialog } from "../../parts/dialog";
import { Field, Form } from "../../parts/form";
import { ListView } from "../../parts/list-view";
import { Managed } from "../../parts/managed";
import { count, firstHour } from "../../parts/moments";
import { Empty } from "../../parts/notices";
import { Page } from "../../parts/page";
import { State } from "../../parts/state";
import type { Column } from "../../parts/table";
import { Time } from "../../parts/time";

type Domain = Schemas["DomainView"];

import { accountsOf } from "./accounts";
import { FILTERS } from "./filters";
import { trafficOf } from "./traffic";

const route = getRouteApi("/domains");

const DNS_KINDS = { right: "good", wrong: "bad", unknown: "warn" } as const;

const COLUMNS: readonly Column<Domain>[] = [
  {
    id: "name",
    title: "Domain",
    sort: "name",
    cell: (domain) => (
      <>
        <Link to="/domains/$name" params={{ name: domain.name }}>
          {domain.display_name}
        </Link>{" "}
        <Managed mark={domain.managed_by} />
      </>
    ),
  },
  {
    id: "verified",
    title: "Ownership",
    cell: (domain) =>
      domain.verified_at ? (
        <State kind="good">verified</State>
      ) : (
        <State kind="warn">not verified</State>
      ),
  },
  {
    id: "dns",
    title: "DNS",
    cell: (domain) =>
      domain.dns_state && domain.dns_checked_at ? (
        <>
          <State kind={DNS_KINDS[domain.dns_state]}>{domain.dns_state}</State>{" "}
          <span className="weak">
            <Time at={domain.dns_checked_at} />
          </span>
        </>
      ) : (
        <State kind="idle">not checked</State>
      ),
  },
  {
    id: "dkim",
    title: "DKIM",
    cell: (domain) =>
      domain.dkim_signs_from ? (
        <>
          <State kind="good">signs</State>{" "}
          <span className="weak">
            since <Time at={domain.dkim_signs_from} />
          </span>
        </>
      ) : domain.dkim_signs_from === undefined ? (
        <span className="weak">not known</span>
      ) : (
        <State kind="warn">does not sign</State>
      ),
  },
  {
    id: "accounts",
    title: "Accounts",
    end: true,
    cell: (domain) => (
      <Link
        to="/accounts"
        search={{ domain: domain.name }}
        aria-label={`${accountsOf(domain)}, accounts of ${domain.name}`}
      >
        {accountsOf(domain)}
      </Link>
    ),
  },
  { id: "tenant", title: "Tenant", cell: (domain) => domain.tenant },
  {
    id: "created",
    title: "Created",
    sort: "created",
    cell: (domain) => <Time at={domain.created_at} />,
  },
];

function trafficColumn(series: Schemas["StatsSeriesView"]["series"]): Column<Domain> {
  const of = trafficOf(series);
  return {
    id: "traffic",
    title: "Last 24 hours",
    cell: ({ name }) => {
      const traffic = of(name);
      return traffic === null ? (
        <span className="weak">less than others</span>
      ) : (
        `${count(traffic.delivered)} delivered, ${count(traffic.submitted)} submitted`
      );
    },
  };
}

export function DomainList() {
  const can = useCan();
  const { create, import: _, ...filters } = route.useSearch();
  const navigate = useNavigate();
  const [isChecking, setIsChecking] = useState(false);
  const list = useList<Domain>(
    ["domains", filters],
    (cursor) =>
      api.GET("/v1/domains", {
        params: { query: { ...filters, limit: 100, cursor, total: cursor === null } },
      }),
    isChecking ? { every: 10 } : {},
  );
  const since = firstHour(Date.now());
  const stats = useOne<Schemas["StatsSeriesView"]>(
    ["stats", "domains", since],
    () =>
      answer(
        api.GET("/v1/stats/series", { params: { query: { since, by: "hour", by_domain: true } } }),
      ),
    { every: 60, enabled: can("getStatsSeries") },
  );
  const columns: readonly Column<Domain>[] =
    stats.data === undefined ? COLUMNS : [...COLUMNS, trafficColumn(stats.data.series)];
  const show = (isShown: boolean) =>
    void navigate({ to: "/domains", search: { ...filters, ...(isShown ? { create: true } : {}) } });
  return (
    <Page
      title="Domains"
      actions={
        <>
          {can("checkAllDns") && (
            <ActionButton
              label="Check all"
              call={() =>
                api.POST("/v1/domains/dns/check", {
                  params: { query: filters.tenant ? { tenant: filters.tenant } : {} },
                })
              }
              changes={["domains"]}
              said={({ due }) => `Domains that are checked, a few at a time: ${count(due)}`}
              done={() => setIsChecking(true)}
            />
          )}
          {can("createDomain") && <NewButton label="New domain" open={() => show(true)} />}
        </>
      }
    >
      <ListView
        filters={FILTERS}
        values={filters}
        go={(search) => void navigate({ to: "/domains", search: FILTERS.read(search) })}
        caption="Domains"
        columns={columns}
        list={list}
        rowKey={(domain) => domain.name}
        empty={
          <Empty title="No domain yet" command="posthorn domain create example.org">
            <p>Mail is accepted for the domains that you create here.</p>
          </Empty>
        }
      />
      {create && can("createDomain") && <NewDomain close={() => show(false)} />}
    </Page>
  );
}

function NewDomain({ close }: { close: () => void }) {
  const navigate = useNavigate();
  const me = useMe().data;
  const create = useAction(
    ({ values, key }: { values: FormData; key: string }) => {
      const tenant = String(values.get("tenant") ?? "").trim();
      const name = String(values.get("name")).trim();
      return api.POST("/v1/domains", {
        body: tenant === "" ? { name } : { name, tenant },
        headers: once(key),
      });
    },
    {
      changes: ["domains"],
      said: (domain) => `Created ${domain.display_name}: publish its DNS records`,
      done: (domain) => void navigate({ to: "/domains/$name", params: { name: domain.name } }),
    },
  );
  return (
    <Dialog title="New domain: step 1 of 3" close={close}>
      <Form
        action={create}
        read={(values, key) => ({ values, key })}
        label="Create domain"
        cancel={close}
      >
        <Field
          name="name"
          label="Name"
          hint="Such as example.org. It gets DKIM keys at once; the next page shows what to publish."
          problem={create.error}
          autoComplete="off"
          required
        />
        {me?.tenant === null && (
          <Field
            name="tenant"
            label="Tenant"
            hint="Name of the tenant; empty: default."
            problem={create.error}
            autoComplete="off"
          />
        )}
      </Form>
    </Dialog>
  );
}
