import { useState } from "react";
import type { Call } from "../../api/call";
import { once, type Schemas } from "../../api/client";
import { type List, useAction } from "../../api/queries";
import { Removal } from "../actions";
import { Dialog } from "../dialog";
import { Inputs } from "../edit";
import { type EditedField, valuesOf } from "../edits";
import { Field, Form, Tick } from "../form";
import { Empty } from "../notices";
import { Section } from "../page";
import { Secret } from "../secret";
import { type Column, DataTable } from "../table";
import { Time } from "../time";

export type AppPassword = Schemas["AppPasswordView"];
type Scope = AppPassword["scopes"][number];
type Create = (
  body: Schemas["AppPasswordCreation"],
  headers: ReturnType<typeof once>,
) => Call<Schemas["NewAppPasswordView"]>;

const SCOPES: readonly (readonly [Scope, string])[] = [
  ["imap", "Read by IMAP"],
  ["pop3", "Read by POP3"],
  ["smtp", "Send"],
];

const BOUNDS: readonly EditedField[] = [
  { name: "expires_at", label: "Expires", kind: "day", hint: "Empty: never." },
  {
    name: "networks",
    label: "Networks that it may be used from",
    kind: "lines",
    hint: "CIDR, one a line; empty: any.",
  },
];

const COLUMNS: readonly Column<AppPassword>[] = [
  { id: "name", title: "Name", cell: (each) => each.name },
  { id: "scopes", title: "For", cell: (each) => each.scopes.join(", ") },
  {
    id: "used",
    title: "Last used",
    cell: (each) => (
      <>
        <Time at={each.last_used_at} />
        {each.last_used_address && (
          <span className="weak">
            {" "}
            {each.last_used_protocol} from {each.last_used_address}
          </span>
        )}
      </>
    ),
  },
  {
    id: "expires",
    title: "Expires",
    cell: (each) => (each.expires_at === null ? "never" : <Time at={each.expires_at} />),
  },
  { id: "networks", title: "Networks", cell: (each) => each.networks?.join(", ") ?? "any" },
  { id: "created", title: "Created", cell: (each) => <Time at={each.created_at} /> },
];

/** The app passwords of an account; those who may, create and delete them. */
export function AppPasswords(properties: {
  list: List<AppPassword>;
  command: string;
  create: Create | false;
  remove: ((id: string) => Call) | false;
}) {
  const { list, command, create, remove } = properties;
  const [isAsked, setIsAsked] = useState(false);
  const columns: readonly Column<AppPassword>[] = [
    ...COLUMNS,
    ...(remove
      ? [{ id: "delete", title: "Delete", cell: (row: AppPassword) => removal(row, remove) }]
      : []),
  ];
  return (
    <Section
      title="App passwords"
      actions={
        create && (
          <button type="button" className="primary" onClick={() => setIsAsked(true)}>
            New app password
          </button>
        )
      }
    >
      <DataTable
        caption="App passwords of the account"
        columns={columns}
        list={list}
        rowKey={(each) => each.id}
        empty={
          <Empty title="No app password" command={command}>
            <p>A password for one program, which can be withdrawn by itself.</p>
          </Empty>
        }
      />
      {isAsked && create && <NewAppPassword create={create} close={() => setIsAsked(false)} />}
    </Section>
  );
}

function removal(row: AppPassword, remove: (id: string) => Call) {
  return (
    <Removal
      title="Delete app password"
      name={`Delete ${row.name}`}
      text={`The program that uses ${row.name} is signed out at once.`}
      call={() => remove(row.id)}
      changes={["app-passwords"]}
      said={`Deleted ${row.name}`}
    />
  );
}

function NewAppPassword({ create, close }: { create: Create; close: () => void }) {
  const [secret, setSecret] = useState<string | null>(null);
  const action = useAction(
    ({ values, key }: { values: FormData; key: string }) =>
      create(
        {
          name: String(values.get("name")).trim(),
          ...valuesOf(BOUNDS, values),
          scopes: SCOPES.map(([scope]) => scope).filter((scope) => values.get(scope) !== null),
        },
        once(key),
      ),
    {
      changes: ["app-passwords"],
      said: (made) => `Created ${made.name}`,
      done: (made) => (made.password === null ? close() : setSecret(made.password)),
    },
  );
  if (secret !== null)
    return <Secret title="The app password" what="password" secret={secret} close={close} />;
  return (
    <Dialog title="New app password" close={close}>
      <Form
        action={action}
        read={(values, key) => ({ values, key })}
        label="Create app password"
        cancel={close}
      >
        <Field
          name="name"
          label="Name"
          hint="The program or device that uses it, such as phone."
          problem={action.error}
          autoComplete="off"
          required
        />
        <fieldset>
          <legend>What it may do</legend>
          {SCOPES.map(([scope, label]) => (
            <Tick key={scope} name={scope} label={label} defaultChecked />
          ))}
        </fieldset>
        <Inputs fields={BOUNDS} values={{}} problem={action.error} />
      </Form>
    </Dialog>
  );
}
