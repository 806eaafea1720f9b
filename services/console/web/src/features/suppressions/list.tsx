import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { api, once, type Schemas } from "../../api/client";
import { useCan } from "../../api/me";
import { useAction, useList } from "../../api/queries";
import { ActionButton, NewButton } from "../../parts/actions";
import { Dialog } from "../../parts/dialog";
import { Field, Form } from "../../parts/form";
import { ListView } from "../../parts/list-view";
import { Empty } from "../../parts/notices";
import { Page } from "../../parts/page";
import type { Column } from "../../parts/table";
import { Time } from "../../parts/time";

type Suppression = Schemas["SuppressionView"];

import { FILTERS } from "./filters";
import { ImportSuppressions } from "./import";

const route = getRouteApi("/suppressions");

const COLUMNS: readonly Column<Suppression>[] = [
  { id: "address", title: "Address", sort: "address", cell: (each) => each.address },
  { id: "source", title: "Source", cell: (each) => each.source },
  { id: "reason", title: "Reason", cell: (each) => each.reason },
  {
    id: "message",
    title: "Caused by",
    cell: (each) =>
      each.message && (
        <Link to="/messages/$id" params={{ id: each.message }}>
          Message
        </Link>
      ),
  },
  { id: "created", title: "Since", sort: "created", cell: (each) => <Time at={each.created_at} /> },
];

/** Addresses that get no mail from here, and why. */
export function SuppressionList() {
  const can = useCan();
  const { create, import: isImport, ...filters } = route.useSearch();
  const navigate = useNavigate();
  const list = useList<Suppression>(["suppressions", filters], (cursor) =>
    api.GET("/v1/suppressions", {
      params: { query: { ...filters, limit: 100, cursor, total: cursor === null } },
    }),
  );
  const show = (dialog: "create" | "import" | null) =>
    void navigate({
      to: "/suppressions",
      search: { ...filters, ...(dialog === null ? {} : { [dialog]: true }) },
    });
  const columns: readonly Column<Suppression>[] = [
    ...COLUMNS,
    ...(can("unsuppress")
      ? [{ id: "remove", title: "Remove", cell: (row: Suppression) => <Remove row={row} /> }]
      : []),
  ];
  return (
    <Page
      title="Suppressions"
      actions={
        <>
          {can("suppress") && (
            <button type="button" onClick={() => show("import")}>
              Import…
            </button>
          )}
          {can("suppress") && <NewButton label="New suppression" open={() => show("create")} />}
        </>
      }
    >
      <p className="weak">
        Mail to these addresses is not sent: it goes back to its sender when its next attempt is
        due. After a removal mail is sent again; what has gone back stays so.
      </p>
      <ListView
        filters={FILTERS}
        values={filters}
        go={(search) => void navigate({ to: "/suppressions", search })}
        caption="Suppressed addresses"
        columns={columns}
        list={list}
        rowKey={(each) => each.address}
        empty={
          <Empty title="No suppression" command="posthorn suppression create dave@example.net">
            <p>An address whose mail bounces, or whose owner complains, gets no more from here.</p>
          </Empty>
        }
      />
      {create && can("suppress") && <NewSuppression close={() => show(null)} />}
      {isImport && can("suppress") && <ImportSuppressions close={() => show(null)} />}
    </Page>
  );
}

function Remove({ row }: { row: Suppression }) {
  const { address } = row;
  return (
    <ActionButton
      label="Remove"
      name={`Remove ${address}`}
      call={() => api.DELETE("/v1/suppressions/{address}", { params: { path: { address } } })}
      changes={["suppressions"]}
      said={() => `${address} gets mail again`}
      undo={() => api.POST("/v1/suppressions", { body: { address, reason: row.reason } })}
    />
  );
}

function NewSuppression({ close }: { close: () => void }) {
  const create = useAction(
    ({ values, key }: { values: FormData; key: string }) => {
      const reason = String(values.get("reason")).trim();
      return api.POST("/v1/suppressions", {
        body: {
          address: String(values.get("address")).trim(),
          reason: reason === "" ? "by hand" : reason,
        },
        headers: once(key),
      });
    },
    {
      changes: ["suppressions"],
      said: (made) => `${made.address} gets no more mail from here`,
      done: close,
    },
  );
  return (
    <Dialog title="New suppression" close={close}>
      <Form
        action={create}
        read={(values, key) => ({ values, key })}
        label="Suppress address"
        cancel={close}
      >
        <Field
          name="address"
          label="Address"
          type="email"
          problem={create.error}
          autoComplete="off"
          required
        />
        <Field name="reason" label="Reason" problem={create.error} autoComplete="off" />
      </Form>
    </Dialog>
  );
}
