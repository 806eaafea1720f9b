import type { Call } from "../../api/call";
import { answer, api, type Schemas } from "../../api/client";
import { useAction, useOne } from "../../api/queries";
import { ActionButton } from "../../parts/actions";
import { CopyAs } from "../../parts/copy-as";
import { Field, Form, Tick } from "../../parts/form";
import { Command, Empty, Failure, Loading, Notice } from "../../parts/notices";
import { Section } from "../../parts/page";
import { type Kind, State } from "../../parts/state";
import { type Column, RowTable } from "../../parts/table";

type View = Schemas["OwnForwardView"];
type Target = Schemas["OwnTargetView"];

const CHANGES = ["me-forwards"] as const;
const STATES: Readonly<Record<Target["state"], readonly [Kind, string]>> = {
  active: ["good", ""],
  unconfirmed: ["warn", "It was asked by a message, and gets nothing before it agrees."],
  suppressed: ["bad", "Mail for it was returned, so it gets none."],
  "not-permitted": ["idle", "Your domain permits no forwards any more, so it gets none."],
};

/** Return the request that forwards to these addresses; without one, the forwards end. */
function forwardTo(targets: readonly string[], keepsCopy: boolean): Call {
  return targets.length === 0
    ? api.DELETE("/v1/me/forwards")
    : api.PUT("/v1/me/forwards", { body: { targets: [...targets], keep_copy: keepsCopy } });
}

/** Where the mail of the person who is signed in is forwarded to. */
export function Forwards() {
  const forwards = useOne<View>(["me-forwards"], () => answer(api.GET("/v1/me/forwards")));
  if (forwards.data === undefined)
    return forwards.isPending ? <Loading /> : <Failure problem={forwards.error} />;
  const { targets, permitted } = forwards.data;
  return (
    <>
      <Section title="Forwards" actions={<CopyAs calls={() => [api.GET("/v1/me/forwards")]} />}>
        {targets.length > 0 ? (
          <Targets view={forwards.data} />
        ) : (
          permitted > 0 && (
            <>
              <p>Your mail is not forwarded.</p>
              <Command text="posthorn me set-forwards carol@example.org" />
            </>
          )
        )}
        {permitted === 0 && targets.length === 0 && (
          <Empty title="Your domain does not permit forwards">
            <p>Who administers your domain can permit them, in its settings.</p>
          </Empty>
        )}
      </Section>
      {permitted > targets.length && <Add key={targets.length} view={forwards.data} />}
      {permitted > 0 && permitted <= targets.length && (
        <p className="weak">Your domain permits no more than {permitted} of them.</p>
      )}
    </>
  );
}

function Targets({ view }: { view: View }) {
  const { targets, keep_copy: keepsCopy, permitted } = view;
  const addresses = targets.map((target) => target.address);
  const columns: readonly Column<Target>[] = [
    { id: "address", title: "Address", cell: ({ address }) => address },
    {
      id: "state",
      title: "State",
      cell: ({ state }) => (
        <>
          <State kind={STATES[state][0]}>{state}</State> {STATES[state][1]}
        </>
      ),
    },
    {
      id: "remove",
      title: "Remove",
      cell: ({ address }) => (
        <ActionButton
          label="Remove"
          name={`Remove ${address}`}
          call={() =>
            forwardTo(
              addresses.filter((each) => each !== address),
              keepsCopy,
            )
          }
          changes={CHANGES}
          said={() => `Your mail is not forwarded to ${address} any more`}
          {...(permitted > 0 ? { undo: () => forwardTo(addresses, keepsCopy) } : {})}
        />
      ),
    },
  ];
  return (
    <>
      <RowTable
        caption="Addresses that get your mail"
        columns={columns}
        rows={targets}
        rowKey={({ address }) => address}
      />
      {!keepsCopy && (
        <Notice kind="warn" title="No copy is kept here">
          Your mailboxes get what cannot be forwarded, and spam.
        </Notice>
      )}
      {permitted > 0 && (
        <ActionButton
          label={keepsCopy ? "Keep no copy here" : "Keep a copy here"}
          call={() => forwardTo(addresses, !keepsCopy)}
          changes={CHANGES}
          said={() => (keepsCopy ? "No copy is kept here" : "A copy is kept here")}
          undo={() => forwardTo(addresses, keepsCopy)}
        />
      )}
    </>
  );
}

function Add({ view }: { view: View }) {
  const addresses = view.targets.map((target) => target.address);
  /* what the API calls the address that is added */
  const name = `targets[${addresses.length}]`;
  const add = useAction(
    ({ address, keepsCopy }: { address: string; keepsCopy: boolean }) =>
      forwardTo([...addresses, address], keepsCopy),
    { changes: CHANGES, said: (_, { address }) => `Your mail is forwarded to ${address}` },
  );
  return (
    <Section title="Forward to another address">
      <Form
        action={add}
        read={(values) => ({
          address: String(values.get(name)).trim(),
          keepsCopy: addresses.length > 0 ? view.keep_copy : values.get("keep_copy") !== null,
        })}
        label="Add address"
      >
        <Field
          name={name}
          label="Address"
          type="email"
          hint="An address elsewhere. It may be asked first whether it wants the mail."
          problem={add.error}
          autoComplete="off"
          required
        />
        {addresses.length === 0 && (
          <Tick name="keep_copy" label="Keep a copy here" defaultChecked={view.keep_copy} />
        )}
      </Form>
    </Section>
  );
}
