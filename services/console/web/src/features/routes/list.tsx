import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import type { Call } from "../../api/call";
import { api, once, type Schemas } from "../../api/client";
import { useCan } from "../../api/me";
import { useAction, useList } from "../../api/queries";
import { NewButton, Removal } from "../../parts/actions";
import { Dialog } from "../../parts/dialog";
import { Inputs } from "../../parts/edit";
import { valuesOf } from "../../parts/edits";
import { Field, Form } from "../../parts/form";
import { ListView } from "../../parts/list-view";
import { Managed, ManagedFields, restored } from "../../parts/managed";
import { count } from "../../parts/moments";
import { Empty } from "../../parts/notices";
import { Page } from "../../parts/page";
import { SendTest } from "../../parts/send-test";
import type { Column } from "../../parts/table";
import { DOMAIN, type Route, SETTINGS, type Setting } from "./fields";
import { FILTERS } from "./filters";
import { ProbeRoute } from "./probe";

const route = getRouteApi("/routes");

const COLUMNS: readonly Column<Route>[] = [
  {
    id: "domain",
    title: "Domain",
    sort: "domain",
    cell: (each) => (
      <>
        {each.domain} <Managed mark={each.managed_by} />
      </>
    ),
  },
  {
    id: "host",
    title: "Next hop",
    cell: (each) =>
      each.host === null ? "by its MX records" : `${each.host}${each.port ? `:${each.port}` : ""}`,
  },
  { id: "tls", title: "TLS", cell: (each) => each.tls },
  {
    id: "login",
    title: "Login",
    cell: (each) => each.username ?? <span className="weak">none</span>,
  },
  {
    id: "limits",
    title: "Limits",
    cell: (each) =>
      [
        each.connections === null ? "" : `${each.connections} connections`,
        each.messages_per_minute === null ? "" : `${each.messages_per_minute} messages a minute`,
      ]
        .filter(Boolean)
        .join(", ") || <span className="weak">none</span>,
  },
  {
    id: "last_hour",
    title: "Attempts of the last hour",
    cell: ({ last_hour }) => {
      /* an API of the release before has no such numbers */
      if (last_hour == null) return <span className="weak">not known</span>;
      const { delivered, deferred, refused } = last_hour;
      return (
        [
          delivered === 0 ? "" : `${count(delivered)} delivered`,
          deferred === 0 ? "" : `${count(deferred)} deferred`,
          refused === 0 ? "" : `${count(refused)} refused`,
        ]
          .filter(Boolean)
          .join(", ") || <span className="weak">none</span>
      );
    },
  },
];

/** Which host takes the mail for a domain, in place of the one that its DNS names. */
export function RouteList() {
  const can = useCan();
  const { create, import: _, domain, ...filters } = route.useSearch();
  const navigate = useNavigate();
  const [edited, setEdited] = useState<Route | null>(null);
  const list = useList<Route>(["routes", filters], (cursor) =>
    api.GET("/v1/routes", {
      params: { query: { ...filters, limit: 100, cursor, total: cursor === null } },
    }),
  );
  const show = (isShown: boolean) =>
    void navigate({ to: "/routes", search: { ...filters, ...(isShown ? { create: true } : {}) } });
  const columns: readonly Column<Route>[] = [
    ...COLUMNS,
    ...(can("setRoute")
      ? [
          {
            id: "actions",
            title: "Actions",
            cell: (each: Route) => <Actions route={each} edit={() => setEdited(each)} />,
          },
        ]
      : []),
  ];
  return (
    <Page
      title="Routes"
      actions={can("createRoute") && <NewButton label="New route" open={() => show(true)} />}
    >
      <ListView
        filters={FILTERS}
        values={filters}
        go={(search) => void navigate({ to: "/routes", search })}
        caption="Routes"
        columns={columns}
        list={list}
        rowKey={(each) => each.domain}
        empty={
          <Empty title="No route" command="posthorn route set example.com --host smtp.example.net">
            <p>Without one, mail goes to the hosts that the MX records of its domain name.</p>
          </Empty>
        }
      />
      {create && can("createRoute") && <RouteForm domain={domain} close={() => show(false)} />}
      {edited && <RouteForm route={edited} close={() => setEdited(null)} />}
    </Page>
  );
}

function Actions({ route, edit }: { route: Route; edit: () => void }) {
  const path = { domain: route.domain };
  return (
    <div className="actions">
      {route.domain !== "*" && (
        <Link
          to="/find"
          search={{ q: `@${route.domain}`, direction: "outbound", days: "1" }}
          aria-label={`Attempts of a day for ${route.domain}`}
        >
          Attempts
        </Link>
      )}
      {route.domain !== "*" && (
        <SendTest label="Test…" name={`Test ${route.domain}`} to={`postmaster@${route.domain}`} />
      )}
      <ProbeRoute route={route} />
      <button type="button" aria-label={`Change ${route.domain}`} onClick={edit}>
        Change…
      </button>
      <Removal
        title="Delete route"
        name={`Delete ${route.domain}`}
        text={`Mail for ${route.domain} then goes to the hosts that its MX records name.${restored(route.managed_by)}`}
        call={() => api.DELETE("/v1/routes/{domain}", { params: { path } })}
        changes={["routes"]}
        said={`Deleted the route of ${route.domain}`}
        {...(route.password_set
          ? {}
          : {
              undo: () => {
                const body = Object.fromEntries(
                  [DOMAIN, ...SETTINGS].map(({ name }) => [name, route[name as keyof Route]]),
                ) as unknown as Schemas["RouteCreation"];
                return api.POST("/v1/routes", { body });
              },
            })}
      />
    </div>
  );
}

function RouteForm(properties: { route?: Route; domain?: string | undefined; close: () => void }) {
  const { route, domain, close } = properties;
  const fields = route === undefined ? [DOMAIN, ...SETTINGS] : SETTINGS;
  const save = useAction(
    ({ values, key }: { values: FormData; key: string }): Call<Route> => {
      const password = String(values.get("password") ?? "");
      const body = {
        ...valuesOf(fields, values),
        ...(password === "" ? {} : { password }),
      } as unknown as Schemas["RouteCreation"] & Setting;
      return route === undefined
        ? api.POST("/v1/routes", { body, headers: once(key) })
        : api.PUT("/v1/routes/{domain}", { params: { path: { domain: route.domain } }, body });
    },
    {
      changes: ["routes"],
      said: (made) => `Mail for ${made.domain} goes to ${made.host ?? "its MX records"}`,
      done: close,
    },
  );
  return (
    <Dialog title={route === undefined ? "New route" : `Route of ${route.domain}`} close={close}>
      <Form
        action={save}
        read={(values, key) => ({ values, key })}
        label="Save route"
        cancel={close}
      >
        <ManagedFields mark={route?.managed_by} all />
        <Inputs fields={fields} values={{ domain, ...route }} problem={save.error} />
        <Field
          name="password"
          label="Password"
          type="password"
          hint={
            route?.password_set
              ? "Empty: the stored one is kept while host and user name stay the same."
              : ""
          }
          problem={save.error}
          autoComplete="new-password"
        />
      </Form>
    </Dialog>
  );
}
