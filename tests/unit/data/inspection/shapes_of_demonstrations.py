"""Rows of well-known sets of demonstrations, as in shapes.py."""

from __future__ import annotations

from typing import Any

from tests.unit.data.inspection.items import SCHOOL, Item
from tests.unit.data.inspection.shapes import Expert, Shape, assistant, from_gpt, from_human, user

TRACE = Expert(lambda i: i.trace, "teacher")
SOLUTION = Expert(lambda i: i.solution)
ATTEMPT = Expert(lambda i: i.attempt, "teacher")
GRADES = ("Yes", "No")
RIGHT = {"Yes": True, "No": False}


def _thoughts(item: Item) -> str:
    return (
        f"<|begin_of_thought|>\n\n{item.thought}\n\n<|end_of_thought|>\n\n"
        f"<|begin_of_solution|>\n\n{item.attempt}\n\n<|end_of_solution|>"
    )


def _closed(item: Item, number: int) -> str:
    """A trace without its opening tag, which the generation prompt held."""
    return f"{item.thought} I checked it {number} times.\n</think>\n\n{item.attempt}"


def _am(item: Item) -> dict[str, Any]:
    info = {"source": "NuminaMath_1.5", "reference_answer": item.answer, "test_case": None}
    answer = {"think_content": item.thought, "answer_content": item.attempt}
    return {
        "messages": [
            {"role": "user", "content": item.problem, "info": info | dict.fromkeys(answer)},
            {
                "role": "assistant",
                "content": f"<think>{item.thought}</think>\n<answer>{item.attempt}</answer>",
                "info": dict.fromkeys(info) | answer,
            },
        ]
    }


def _prm800k(item: Item) -> dict[str, Any]:
    steps = [item.working, f"# Answer\n\n{item.answer}"]
    return {
        "labeler": f"340d89bc-f5b7-45e9-b272-909ba68ee36{item.number}",
        "timestamp": f"2023-01-22T04:34:{10 + item.number}.052924",
        "generation": 9,
        "is_quality_control_question": False,
        "is_initial_screening_question": False,
        "question": {
            "problem": item.problem,
            "ground_truth_solution": item.solution,
            "ground_truth_answer": item.answer,
            "pre_generated_steps": steps,
            "pre_generated_answer": item.answer,
            "pre_generated_verifier_score": 0.9 + item.number / 100,
        },
        "label": {
            "steps": [
                {
                    "completions": [{"text": step, "rating": 1, "flagged": False}],
                    "human_completion": None,
                    "chosen_completion": 0,
                }
                for step in steps
            ],
            "total_time": 30_000 + item.number,
            "finish_reason": ("solution", "found_error")[item.number % 2],
        },
    }


DEMONSTRATIONS: dict[str, Shape] = {
    "open-r1/OpenR1-Math-220k": Shape(
        lambda i: {
            "problem": i.problem,
            "solution": i.solution,
            "answer": i.answer,
            "problem_type": ("Algebra", "Geometry")[i.number % 2],
            "question_type": "math-word-problem",
            "source": "olympiads",
            "uuid": f"586fd646-76d6-5070-8c81-9993ab9d855{i.number}",
            "is_reasoning_complete": [True, i.number % 3 > 0],
            "generations": [i.trace, f"<think>\n{i.thought}\n</think>\n\n{i.failed}"],
            "correctness_math_verify": [True, False],
            "correctness_llama": None,
            "finish_reasons": None,
            "correctness_count": 1,
            "messages": [user(i.problem), assistant(i.trace)],
        },
        experts=(
            SOLUTION,
            Expert(
                lambda i: [i.trace, f"<think>\n{i.thought}\n</think>\n\n{i.failed}"],
                "teacher",
                score=lambda i: [True, False],
                keep=lambda i: [True, i.number % 3 > 0],
            ),
        ),
    ),
    "AI-MO/NuminaMath-CoT": Shape(
        lambda i: {
            "source": ("olympiads", "cn_k12")[i.number % 2],
            "problem": i.problem,
            "solution": i.solution,
            "messages": [user(i.problem), assistant(i.solution)],
        },
        answer=lambda i: i.solution,
        experts=(SOLUTION,),
    ),
    "AI-MO/NuminaMath-1.5": Shape(
        lambda i: {
            "problem": i.problem,
            "solution": i.solution,
            "answer": i.answer,
            "problem_type": ("Algebra", "Geometry")[i.number % 2],
            "question_type": "math-word-problem",
            "problem_is_valid": "Yes",
            "solution_is_valid": ("Yes", "Incomplete")[i.number % 2],
            "source": "olympiads",
            "synthetic": False,
        },
        experts=(Expert(lambda i: i.solution, keep=lambda i: i.number % 2 == 0),),
    ),
    "zwhe99/DeepMath-103K": Shape(
        lambda i: {
            "question": i.problem,
            "final_answer": i.answer,
            "difficulty": 4.5 + i.number % 3,
            "topic": "Mathematics -> Algebra -> Other",
            **{f"r1_solution_{number}": _closed(i, number) for number in (1, 2, 3)},
        },
        experts=(Expert(lambda i: [_closed(i, number) for number in (1, 2, 3)], "teacher"),),
    ),
    "simplescaling/s1K": Shape(
        lambda i: {
            "solution": i.answer if i.number % 3 else i.prose,
            "question": i.problem,
            "cot_type": "math",
            "source_type": "qq8933/AIME_1983_2024",
            "metadata": f"{{'ID': '19{i.number}', 'Problem Number': {i.number}}}",
            "cot": None,
            "thinking_trajectories": [i.thought],
            "attempt": i.attempt,
        },
        answer=lambda i: i.answer if i.number % 3 else i.prose,
        experts=(TRACE,),
    ),
    "simplescaling/s1K-1.1": Shape(
        lambda i: {
            "solution": i.answer,
            "question": i.problem,
            "cot_type": "math",
            "source_type": "qq8933/AIME_1983_2024",
            "metadata": f"{{'ID': '19{i.number}', 'Problem Number': {i.number}}}",
            "gemini_thinking_trajectory": i.thought,
            "gemini_attempt": i.failed,
            "deepseek_thinking_trajectory": i.thought,
            "deepseek_attempt": i.attempt,
            "gemini_grade": "No",
            "gemini_grade_reason": "The attempt does not reach the reference answer of the problem.",
            "deepseek_grade": GRADES[i.number % 2],
            "deepseek_grade_reason": "The attempt was compared with the reference answer.",
        },
        experts=(
            Expert(
                lambda i: f"<think>\n{i.thought}\n</think>\n\n{i.failed}", "teacher", score=lambda i: False
            ),
            Expert(lambda i: i.trace, "teacher", score=lambda i: i.number % 2 == 0),
        ),
    ),
    "open-thoughts/OpenThoughts-114k": Shape(
        lambda i: {
            "system": "Your role as an assistant involves thoroughly exploring questions.",
            "conversations": [
                {"from": "user", "value": i.problem},
                {"from": "assistant", "value": _thoughts(i)},
            ],
        },
        answer=None,
        experts=(Expert(_thoughts, "teacher"),),
    ),
    "open-thoughts/OpenThoughts-114k metadata": Shape(
        lambda i: {
            "problem": i.problem,
            "deepseek_reasoning": i.thought,
            "deepseek_solution": i.attempt,
            "ground_truth_solution": i.solution,
            "domain": "math",
            "source": "numina_math",
            "test_cases": None,
            "starter_code": None,
        },
        answer=lambda i: i.solution,
        experts=(TRACE, SOLUTION),
    ),
    "open-thoughts/OpenThoughts3-1.2M": Shape(
        lambda i: {
            "difficulty": 8,
            "source": "ai2-adapt-dev/openmath-2-math",
            "domain": "math",
            "conversations": [from_human(i.problem), from_gpt(i.trace)],
        },
        answer=None,
        experts=(TRACE,),
    ),
    "GAIR/LIMO": Shape(
        lambda i: {"question": i.problem, "solution": f"{i.thought}\n\n{i.solution}", "answer": i.answer},
        experts=(Expert(lambda i: f"{i.thought}\n\n{i.solution}", "teacher"),),
        suffix=".jsonl",
    ),
    "openai/prm800k": Shape(
        _prm800k,
        experts=(
            SOLUTION,
            Expert(
                lambda i: f"{i.working}\n\n# Answer\n\n{i.answer}",
                "teacher",
                keep=lambda i: i.number % 2 == 0,
            ),
        ),
        suffix=".jsonl",
    ),
    "ShareGPT": Shape(
        lambda i: {
            "id": f"QWJhYvA_{i.number}",
            "conversations": [from_human(i.problem), from_gpt(i.attempt)],
        },
        answer=None,
        experts=(ATTEMPT,),
        suffix=".json",
    ),
    "tatsu-lab/alpaca": Shape(
        lambda i: {
            "instruction": i.problem.rpartition(". ")[2],
            "input": i.problem.rpartition(". ")[0],
            "output": i.prose,
            "text": "Below is an instruction that describes a task. Write a response.\n\n### Instruction:\n"
            f"{i.problem}\n\n### Response:\n{i.prose}",
        },
        items=SCHOOL,
        problem=lambda i: f"{i.problem.rpartition('. ')[2]}\n\n{i.problem.rpartition('. ')[0]}",
        answer=None,
        experts=(Expert(lambda i: i.prose, "teacher"),),
    ),
    "meta-math/MetaMathQA": Shape(
        lambda i: {
            "type": ("MATH_AnsAug", "GSM_Rephrased")[i.number % 2],
            "query": i.problem,
            "original_question": f"Before: {i.problem}",
            "response": f"{i.solution}\nThe answer is: {i.answer}",
        },
        answer=None,
        experts=(Expert(lambda i: f"{i.solution}\nThe answer is: {i.answer}", "teacher"),),
        suffix=".json",
    ),
    "TIGER-Lab/MathInstruct": Shape(
        lambda i: {"source": "data/CoT/math50k_camel.json", "instruction": i.problem, "output": i.prose},
        items=SCHOOL,
        answer=None,
        experts=(Expert(lambda i: i.prose, "teacher"),),
        suffix=".json",
    ),
    "microsoft/orca-math-word-problems-200k": Shape(
        lambda i: {"question": i.problem, "answer": i.prose},
        items=SCHOOL,
        answer=None,
        experts=(Expert(lambda i: i.prose),),
    ),
    "allenai/tulu-3-sft-mixture": Shape(
        lambda i: {
            "id": f"personahub_{i.number}x9",
            "messages": [user(i.problem), assistant(i.attempt)],
            "source": "ai2-adapt-dev/personahub_math_v5_regen_149960",
        },
        answer=None,
        experts=(ATTEMPT,),
    ),
    "nvidia/OpenMathInstruct-2": Shape(
        lambda i: {
            "problem": i.problem,
            "generated_solution": i.attempt,
            "expected_answer": i.answer,
            "problem_source": ("augmented_math", "gsm8k")[i.number % 2],
        },
        experts=(ATTEMPT,),
    ),
    "nvidia/OpenMathReasoning": Shape(
        lambda i: {
            "expected_answer": i.answer,
            "problem_type": "has_answer_extracted",
            "problem_source": "aops_c4_high_school_math",
            "generation_model": "DeepSeek-R1",
            "pass_rate_72b_tir": f"0.{i.number}25",
            "problem": i.problem,
            "generated_solution": i.trace,
            "inference_mode": "cot",
            "used_in_kaggle": True,
        },
        experts=(TRACE,),
    ),
    "a-m-team/AM-DeepSeek-R1-Distilled-1.4M": Shape(
        _am,
        experts=(Expert(lambda i: f"<think>{i.thought}</think>\n<answer>{i.attempt}</answer>", "teacher"),),
        suffix=".jsonl",
    ),
    "messages (OpenAI's fine-tuning)": Shape(
        lambda i: {
            "messages": [
                {"role": "system", "content": "You are a helpful tutor."},
                user(i.problem),
                assistant(i.attempt),
            ]
        },
        answer=None,
        experts=(ATTEMPT,),
        suffix=".jsonl",
    ),
    "prompt, completion (TRL)": Shape(
        lambda i: {"prompt": i.problem, "completion": i.attempt},
        answer=None,
        experts=(ATTEMPT,),
        suffix=".jsonl",
    ),
    "HuggingFaceH4/ultrafeedback_binarized": Shape(
        lambda i: {
            "prompt": i.problem,
            "prompt_id": f"6a58ab0e77d6c08a7a1e6b0c5d1f{i.number}",
            "chosen": [user(i.problem), assistant(i.attempt)],
            "rejected": [user(i.problem), assistant(i.failed)],
            "score_chosen": 8.5,
            "score_rejected": 4.0 + i.number / 10,
        },
        answer=None,
        experts=(ATTEMPT,),
    ),
    "facebook/natural_reasoning": Shape(
        lambda i: {
            "question": i.problem,
            "reference_answer": i.answer,
            "responses": [{"response_model": "Llama3.3-70B-Instruct", "response": i.attempt}],
        },
        experts=(ATTEMPT,),
    ),
    "Open-Orca/OpenOrca": Shape(
        lambda i: {
            "id": f"flan.{38000 + 31 * i.number}",
            "system_prompt": "You are an AI assistant. Provide a detailed answer.",
            "question": i.problem,
            "response": i.attempt,
        },
        answer=None,
        experts=(ATTEMPT,),
    ),
    "databricks/databricks-dolly-15k": Shape(
        lambda i: {"instruction": i.problem, "context": "", "response": i.prose, "category": "open_qa"},
        items=SCHOOL,
        answer=None,
        experts=(Expert(lambda i: i.prose, "teacher"),),
        suffix=".jsonl",
    ),
}
"""Name of the data set -> its shape."""
