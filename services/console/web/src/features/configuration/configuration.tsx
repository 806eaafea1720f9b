import { getRouteApi, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import type { Call } from "../../api/call";
import { api, only, type Schemas, type Tagged, tagged } from "../../api/client";
import { useCan, useMe } from "../../api/me";
import { useAction, useOne } from "../../api/queries";
import { Confirm } from "../../parts/confirm";
import { Copy } from "../../parts/copy";
import { CopyAs } from "../../parts/copy-as";
import { FilterBar } from "../../parts/filter-bar";
import { Field, Form, TextArea, Tick } from "../../parts/form";
import { Failure, Loading, Notice } from "../../parts/notices";
import { Page, Section } from "../../parts/page";
import { textsIn } from "../../parts/search";
import { Secret } from "../../parts/secret";
import { documentIn, numberOf } from "./diff";
import { Managers } from "./managers";
import { Plan } from "./plan";

type Document = Schemas["ConfigDocument"];

const route = getRouteApi("/configuration");

/** A tenant's whole configuration; a pasted one becomes a plan, which is read and then applied. */
export function Configuration() {
  const filters = route.useSearch();
  const can = useCan();
  const me = useMe().data;
  const navigate = useNavigate();
  const ask = () => tagged(api.GET("/v1/config", { params: { query: filters } }));
  const now = useOne(["configuration", filters], ask);
  return (
    <Page
      title="Configuration"
      actions={<CopyAs calls={() => [api.GET("/v1/config", { params: { query: filters } })]} />}
    >
      {me?.tenant === null && (
        <FilterBar
          filters={[{ name: "tenant", label: "Tenant" }]}
          values={filters}
          label="Show"
          apply={(values) =>
            void navigate({ to: "/configuration", search: textsIn(values, ["tenant"]) })
          }
        />
      )}
      {now.isPending && <Loading />}
      <Failure problem={now.error} />
      {now.data && (
        <div key={filters.tenant ?? ""}>
          {can("putConfig") && <Change tenant={filters} now={now.data} />}
          {can("listManagers") && <Managers tenant={filters} />}
          <Now document={now.data.value} />
        </div>
      )}
    </Page>
  );
}

function Now({ document }: { document: Document }) {
  const text = JSON.stringify(document, null, 2);
  return (
    <Section
      title="As it is"
      actions={<Copy text={text} what="configuration" label="Copy configuration" />}
    >
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls takes the arrow keys */}
      <pre className="json" tabIndex={0}>
        {text}
      </pre>
    </Section>
  );
}

interface Wish {
  document: Document;
  isPruned: boolean;
  /** Who manages what the document names; empty: nobody. */
  manager: string;
  isTaken: boolean;
}

interface Planned extends Wish {
  outcome: Schemas["ConfigOutcome"];
  tag: string | null;
  /** The configuration that the plan was made for. */
  now: Document;
}

/** Return the parameters of a wish. */
function wanted({ isPruned, manager, isTaken }: Wish) {
  return {
    prune: isPruned,
    ...(manager === "" ? {} : { manager, take_over: isTaken }),
  };
}

/** Return whether an apply would change anything. */
function differs({ changes, marked = [], released = [] }: Schemas["ConfigOutcome"]): boolean {
  return changes.length + marked.length + released.length > 0;
}

function Change({ tenant, now }: { tenant: { tenant?: string }; now: Tagged<Document> }) {
  const [fault, setFault] = useState<string | null>(null);
  const [planned, setPlanned] = useState<Planned | null>(null);
  const [isAsked, setIsAsked] = useState(false);
  const [secrets, setSecrets] = useState<readonly string[]>([]);
  const plan = useAction(
    (wish: Wish) =>
      api.PUT("/v1/config", {
        params: { query: { ...tenant, plan: true, ...wanted(wish) } },
        body: wish.document,
      }),
    {
      send: (call: Call<Schemas["ConfigOutcome"]>) => tagged(call),
      changes: [],
      said: ({ value }) => `The plan has ${numberOf(value.changes.length)}`,
      done: ({ value, tag }, wish) => setPlanned({ ...wish, outcome: value, tag, now: now.value }),
    },
  );
  const apply = useAction(
    (wish: Planned) =>
      api.PUT("/v1/config", {
        params: {
          query: { ...tenant, plan: false, ...wanted(wish) },
          header: only(wish.tag),
        },
        body: wish.document,
      }),
    {
      changes: [
        "configuration",
        "managers",
        "domains",
        "accounts",
        "aliases",
        "webhooks",
        "routes",
      ],
      said: (outcome) => `Made ${numberOf(outcome.changes.length - outcome.failed)}`,
      done: (outcome, wish) => {
        setIsAsked(false);
        setSecrets(
          outcome.changes.flatMap(({ object, secret }) => (secret ? [`${object} ${secret}`] : [])),
        );
        setPlanned({ ...wish, outcome, tag: null });
      },
    },
  );
  const read = (values: FormData): Wish | null => {
    setFault(null);
    try {
      const document = documentIn(String(values.get("document") ?? ""));
      return {
        document,
        isPruned: values.get("prune") !== null,
        manager: String(values.get("manager") ?? "").trim(),
        isTaken: values.get("take_over") !== null,
      };
    } catch (failure) {
      setFault(failure instanceof Error ? failure.message : String(failure));
      return null;
    }
  };
  const deleted = planned?.outcome.changes.filter((change) => change.action === "delete") ?? [];
  return (
    <Section title="Change it">
      {fault !== null && <Notice kind="bad" title={fault} />}
      <Form action={plan} read={read} label="Plan">
        <TextArea
          name="document"
          label="Wanted configuration, as JSON"
          hint="As below, or by posthorn export config --json. What it leaves out stays as it is."
          rows={8}
          required
        />
        <Tick
          name="prune"
          label="Delete what is there and not listed"
          hint="Of the kinds that the document lists. Accounts that hold mail stay."
        />
        <Field
          name="manager"
          label="Manager"
          hint="Name of the tool that applies this document, such as argo-cd: what it names is marked as managed by it. Empty: nothing is marked."
          problem={plan.error}
          autoComplete="off"
        />
        <Tick name="take_over" label="Take over what another manager has" />
      </Form>
      {planned && (
        <Plan outcome={planned.outcome} now={planned.now}>
          {!planned.outcome.applied && differs(planned.outcome) && (
            <button
              type="button"
              className="primary"
              disabled={apply.isPending}
              onClick={() => (deleted.length > 0 ? setIsAsked(true) : apply.mutate(planned))}
            >
              Apply
            </button>
          )}
          {!planned.outcome.applied && (
            <CopyAs calls={() => apply.describe(planned)} action="Apply" />
          )}
        </Plan>
      )}
      {!isAsked && <Failure problem={apply.error} />}
      {!isAsked && apply.error?.status === 412 && (
        <p>Something has changed since the plan was made: plan again to see it.</p>
      )}
      {secrets.length > 0 && (
        <Secret
          title="The secrets of new webhooks"
          what="list of secrets"
          secret={secrets.join("\n")}
          close={() => setSecrets([])}
        />
      )}
      {isAsked && planned && (
        <Confirm
          title="Apply and delete"
          text={`${deleted.length} of the changes delete something: ${deleted
            .map((change) => `${change.kind} ${change.object}`)
            .join(", ")}.`}
          label="Apply"
          typed={planned.outcome.tenant}
          action={apply}
          input={planned}
          close={() => setIsAsked(false)}
        />
      )}
    </Section>
  );
}
