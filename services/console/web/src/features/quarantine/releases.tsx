import { api } from "../../api/client";
import { useCan } from "../../api/me";
import { ActionButton, Removal } from "../../parts/actions";
import { saidOf } from "./reasons";

/** Releases or deletes the ticked copies; one request releases all of them. */
export function Releases({ ids, done }: { ids: readonly string[]; done: () => void }) {
  const can = useCan();
  const none = ids.length === 0;
  const release = (isHam: boolean) =>
    api.POST("/v1/quarantine/release", {
      body: { ids: [...ids], ...(isHam ? { classify: "ham" as const } : {}) },
    });
  const told = { changes: ["quarantine", "messages"], said: saidOf, done, disabled: none };
  return (
    <div className="filters">
      {can("releaseAllQuarantined") && (
        <>
          <ActionButton label="Release" call={() => release(false)} {...told} />
          <ActionButton label="Not spam: release and learn" call={() => release(true)} {...told} />
        </>
      )}
      {can("deleteQuarantined") && (
        <Removal
          title="Delete withheld messages"
          text={`The selected copies (${ids.length}) are deleted, and their recipients never get them.`}
          typed={String(ids.length)}
          disabled={none}
          call={() =>
            ids.map((id) => api.DELETE("/v1/quarantine/{id}", { params: { path: { id } } }))
          }
          changes={["quarantine"]}
          said={`Deleted: ${ids.length}`}
          done={done}
        />
      )}
      <span className="weak">{ids.length} selected</span>
    </div>
  );
}
