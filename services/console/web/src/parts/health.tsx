import { Link } from "@tanstack/react-router";
import { answer, api, type Schemas } from "../api/client";
import { useOne } from "../api/queries";
import { Failure, Loading, Notice } from "./notices";

type System = Schemas["SystemView"];

/** Ask for the state of the whole system, again each 15 s. */
export function useSystem() {
  return useOne<System>(["system"], () => answer(api.GET("/v1/system")), { every: 15 });
}

/** All well, or what is not and where. `leads`: with a way to the screen that shows the rest.
 * `isAlone`: whether nothing besides the system needs a look. */
export function Health(properties: { leads?: boolean; isAlone?: boolean }) {
  const { leads = false, isAlone = true } = properties;
  const system = useSystem();
  if (system.isPending) return <Loading />;
  if (system.data === undefined) return <Failure problem={system.error} />;
  const { problems } = system.data;
  if (problems.length === 0)
    return (
      <Notice
        kind="good"
        title={isAlone ? "All well" : "The system works: every process is ready, nothing lags"}
      />
    );
  return (
    <Notice kind="bad" title={problems.length === 1 ? "1 problem" : `${problems.length} problems`}>
      <ul>
        {problems.map((problem) => (
          <li key={`${problem.area} ${problem.subject} ${problem.detail}`}>
            <strong>{problem.subject || problem.area}</strong>: {problem.detail}{" "}
            {problem.runbook_url && (
              <a href={problem.runbook_url} rel="noreferrer">
                Runbook
              </a>
            )}
          </li>
        ))}
      </ul>
      {leads && (
        <p>
          <Link to="/system">System</Link>
        </p>
      )}
    </Notice>
  );
}
