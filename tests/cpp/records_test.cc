// Offsets and validity count at every level, and what is no record of requests is refused.
#include "cpp_serving/records.h"

#include "check.h"
#include "sample_records.h"

using cpp_serving::Axis;
using cpp_serving::Field;
using cpp_serving::Records;

namespace {

Records View(ArrowNode& batch) {
  batch.Seal();
  return Records(batch.schema, batch.array);
}

void ValuesAreTheSameBehindAnyOffset() {
  for (const std::size_t skip : {0, 1, 3, 9}) {
    ArrowNodePtr batch = SampleRecords(skip);
    const Records records = View(*batch);
    CHECK(records.num_requests() == 3 && records.num_candidates() == 5);
    CHECK(records.CandidateBegin(1) == 2 && records.CandidateBegin(2) == 2);
    CHECK(records.StepBegin(1) == 1 && records.StepBegin(3) == 3);
    const Field ad = records.At("candidate.ad_id");
    CHECK(ad.axis == Axis::kCandidate && ad.Int64(0) == 5 && ad.Int64(3) == 16777217);
    const Field price = records.At("candidate.price");
    CHECK(!price.IsNull(0) && price.IsNull(1) && price.Float64(4) == -3.0);
    const Field title = records.At("candidate.title");
    CHECK(title.Text(0) == "two words" && title.Text(1).empty() && title.IsNull(2));
    const Field device = records.At("context.device");
    CHECK(device.axis == Axis::kRequest && device.Text(0) == "Phone" && device.IsNull(1) &&
          device.Text(2) == "tablet");
    CHECK(records.At("logged_at").Int64(2) == 3 * kHour);
    CHECK(records.At("history.ad_id").Int64(1) == 7 && records.At("history.ad_id").IsNull(2));
  }
}

void ASlicedBatchShowsItsOwnRows() {
  ArrowNodePtr batch = SampleRecords(2);
  batch->array.offset = 2;  // Of three requests the last one: its lists begin further on.
  batch->array.length = 1;
  const Records records = View(*batch);
  CHECK(records.num_requests() == 1 && records.num_candidates() == 3);
  CHECK(records.CandidateBegin(0) == 0 && records.CandidateBegin(1) == 3);
  CHECK(records.At("candidate.ad_id").Int64(0) == 7);
  CHECK(records.At("candidate.title").IsNull(0));
  CHECK(records.At("context.device").Text(0) == "tablet");
  CHECK(records.At("logged_at").Int64(0) == 3 * kHour);
  CHECK(records.StepBegin(1) == 0);
}

void ANullStructHasNullFields() {
  ArrowNodePtr batch = SampleRecords();
  batch->Child("context").validity = {0b110};
  batch->Child("candidates").children[0]->validity = {0b11110};
  const Records records = View(*batch);
  CHECK(records.At("context.device").IsNull(0) && !records.At("context.device").IsNull(2));
  CHECK(records.At("candidate.ad_id").IsNull(0) && !records.At("candidate.ad_id").IsNull(1));
}

void BoolsAreReadBitByBit() {
  ArrowNodePtr batch = SampleRecords();
  batch->Child("user").children.push_back(Bools("member", {true, std::nullopt, false}, 7));
  const Records records = View(*batch);
  const Field member = records.At("user.member");
  CHECK(member.Bool(0) && member.IsNull(1) && !member.Bool(2) && !member.IsNull(2));
}

template <typename Change>
std::string Refusal(Change change, const std::string& path = "logged_at") {
  ArrowNodePtr batch = SampleRecords();
  change(*batch);
  return ErrorOf([&] { View(*batch).At(path); });
}

template <typename Change>
std::string RefusalAfterSeal(Change change, const std::string& path = "logged_at") {
  ArrowNodePtr batch = SampleRecords();
  batch->Seal();
  change(*batch);
  return ErrorOf([&] { Records(batch->schema, batch->array).At(path); });
}

void WhatIsAbsentOrOfAnotherTypeIsNamed() {
  const auto same = [](ArrowNode&) {};
  CHECK(Has(Refusal(same, "candidate.cost"), "known: candidate.ad_id, candidate.bid_micros"));
  CHECK(Has(Refusal(same, "user.age"), "known: user.seen_at"));
  CHECK(Has(Refusal(same, "weather.rain"), "no column 'weather'"));
  CHECK(Has(Refusal(same, "logged_at.year"), "not a struct"));
  CHECK(
      Has(Refusal([](ArrowNode& b) { b.Child("history").name = "past"; }), "no column 'history'"));
  CHECK(Has(RefusalAfterSeal([](ArrowNode& b) { b.Child("logged_at").schema.format = "tsm:UTC"; }),
            "'tsm:UTC'"));
  CHECK(Has(RefusalAfterSeal([](ArrowNode& b) { b.Child("logged_at").schema.format = "tsu:"; }),
            "'tsu:'"));
  CHECK(Has(RefusalAfterSeal([](ArrowNode& b) { b.Child("candidates").schema.format = "+L"; }),
            "not a list of structs"));
  CHECK(Has(RefusalAfterSeal([](ArrowNode& b) {
              b.Child("logged_at").schema.dictionary = &b.Child("request_id").schema;
            }),
            "dictionary"));
}

void MalformedArraysAreRefused() {
  CHECK(Has(RefusalAfterSeal([](ArrowNode& b) { b.array.release = nullptr; }), "released"));
  CHECK(Has(RefusalAfterSeal([](ArrowNode& b) { b.Child("logged_at").array.length = 2; }),
            "too short"));
  CHECK(Has(RefusalAfterSeal([](ArrowNode& b) { b.Child("logged_at").array.n_buffers = 1; }),
            "malformed"));
  CHECK(Has(RefusalAfterSeal([](ArrowNode& b) { b.Child("logged_at").buffers[1] = nullptr; }),
            "too few"));
  CHECK(Has(RefusalAfterSeal([](ArrowNode& b) { b.Child("user").array_children[0] = nullptr; },
                             "user.seen_at"),
            "absent"));
  CHECK(Has(Refusal([](ArrowNode& b) { b.Child("candidates").offsets = {0, 3, 2, 5}; }),
            "not ascending"));
  CHECK(Has(Refusal([](ArrowNode& b) { b.Child("candidates").offsets = {0, 2, 2, 6}; }), "beyond"));
  CHECK(Has(Refusal([](ArrowNode& b) { b.Child("history").validity = {0b101}; }), "row 1 is null"));
  CHECK(Has(Refusal([](ArrowNode& b) { b.validity = {0b011}; }), "row 2 is null"));
  ArrowNodePtr batch = SampleRecords();
  batch->Child("request_id").offsets = {0, 2, 1, 3};
  CHECK(Has(ErrorOf([&] { View(*batch).At("request_id").Text(1); }), "not ascending"));
}

void AnEmptyBatchHasNoRows() {
  ArrowNodePtr batch = SampleRecords();
  batch->array.length = 0;
  const Records records = View(*batch);
  CHECK(records.num_requests() == 0 && records.num_candidates() == 0);
  CHECK(records.At("candidate.ad_id").axis == Axis::kCandidate);
}

}  // namespace

int main() {
  ValuesAreTheSameBehindAnyOffset();
  ASlicedBatchShowsItsOwnRows();
  ANullStructHasNullFields();
  BoolsAreReadBitByBit();
  WhatIsAbsentOrOfAnotherTypeIsNamed();
  MalformedArraysAreRefused();
  AnEmptyBatchHasNoRows();
  return Finish();
}
