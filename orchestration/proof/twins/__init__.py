from orchestration.proof.twins.prove import Prover, prove_by_twins

__all__ = ["Prover", "prove_by_twins"]
