// How a kernel of this folder becomes an operation of TensorFlow, through TensorFlow's C interface alone: its tensors in order, no attributes.
// Numbers come in a tensor `settings`, so that TensorFlow keeps one kernel an operation whatever they are; a tensor without elements is absent.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include <sys/mman.h>

#include "tensorflow/c/kernels.h"
#include "tensorflow/c/ops.h"
#include "tensorflow/c/tf_status.h"
#include "tensorflow/c/tf_tensor.h"

namespace search_e1 {

/** Row-major numbers where TensorFlow keeps them. */
struct Tensor {
  std::vector<int64_t> shape;
  void* data = nullptr;

  int64_t size() const {
    int64_t n = 1;
    for (const int64_t each : shape) n *= each;
    return n;
  }
  /** Length of the last axis. */
  int64_t width() const { return shape.back(); }
  /** How many times the last axis, which may be of length 0. */
  int64_t rows() const {
    int64_t n = 1;
    for (size_t axis = 0; axis + 1 < shape.size(); axis++) n *= shape[axis];
    return n;
  }
  float* floats() const { return size() == 0 ? nullptr : static_cast<float*>(data); }
  int32_t* integers() const { return static_cast<int32_t*>(data); }
};

/** One execution of an operation. */
class Call {
 public:
  explicit Call(TF_OpKernelContext* context) : context_(context), status_(TF_NewStatus()) {}
  ~Call() {
    for (TF_Tensor* tensor : held_) TF_DeleteTensor(tensor);
    TF_DeleteStatus(status_);
  }

  Tensor input(int index) {
    TF_Tensor* tensor = nullptr;
    TF_GetInput(context_, index, &tensor, status_);
    return hold(tensor);
  }

  /** A tensor of anything, to be written. */
  Tensor output(int index, const std::vector<int64_t>& shape, TF_DataType type = TF_FLOAT) {
    size_t bytes = TF_DataTypeSize(type);
    for (const int64_t each : shape) bytes *= each;
    const Tensor made = hold(TF_AllocateOutput(context_, index, type, shape.data(), static_cast<int>(shape.size()), bytes, status_));
    if (bytes >= LARGE) {
      const uintptr_t start = reinterpret_cast<uintptr_t>(made.data) & ~(PAGE - 1);
      madvise(reinterpret_cast<void*>(start), bytes, MADV_HUGEPAGE);
    }
    return made;
  }

  /** An input's memory as an output of another shape. */
  void pass(int input, int output, const std::vector<int64_t>& shape) {
    TF_Tensor* tensor = nullptr;
    TF_GetInput(context_, input, &tensor, status_);
    hold(tensor);
    const TF_DataType type = TF_TensorType(tensor);
    const int64_t none = 0;
    TF_Tensor* const same = TF_AllocateTensor(type, &none, 1, 0);
    held_.push_back(same);
    TF_TensorBitcastFrom(tensor, type, same, shape.data(), static_cast<int>(shape.size()), status_);
    if (TF_GetCode(status_) == TF_OK) TF_SetOutput(context_, output, same, status_);
    if (TF_GetCode(status_) != TF_OK) throw std::runtime_error(TF_Message(status_));
  }

  void fail(const char* reason) {
    TF_SetStatus(status_, TF_INVALID_ARGUMENT, reason);
    TF_OpKernelContext_Failure(context_, status_);
  }

 private:
  Tensor hold(TF_Tensor* tensor) {
    if (TF_GetCode(status_) != TF_OK) throw std::runtime_error(TF_Message(status_));
    held_.push_back(tensor);
    Tensor seen;
    for (int axis = 0; axis < TF_NumDims(tensor); axis++) seen.shape.push_back(TF_Dim(tensor, axis));
    seen.data = TF_TensorData(tensor);
    return seen;
  }

  /** Bytes from which an output is asked to lie in pages of 2 MB, where the system has them: few addresses to look up. */
  static constexpr size_t LARGE = 1 << 18;
  static constexpr uintptr_t PAGE = 4096;

  TF_OpKernelContext* context_;
  TF_Status* status_;
  std::vector<TF_Tensor*> held_;
};

/** Every id in [0, limit): else a kernel would read or write beside the table. */
inline void checkIds(const Tensor& ids, int64_t limit) {
  for (int64_t i = 0; i < ids.size(); i++) {
    const int32_t id = ids.integers()[i];
    if (id >= 0 && id < limit) continue;
    throw std::out_of_range("id " + std::to_string(id) + " at " + std::to_string(i) + " should be in [0, " + std::to_string(limit) + ")");
  }
}

/** Makes `run` an operation when the library is loaded; inputs and outputs as `name: type`, a last input of `count * type` as an attribute says. */
template <void (*run)(Call&)>
struct Operation {
  Operation(const char* name, const std::vector<const char*>& inputs, const std::vector<const char*>& outputs) {
    TF_Status* status = TF_NewStatus();
    TF_OpDefinitionBuilder* definition = TF_NewOpDefinitionBuilder(name);
    for (const char* input : inputs) TF_OpDefinitionBuilderAddInput(definition, input);
    if (std::string(inputs.back()).find("count *") != std::string::npos) TF_OpDefinitionBuilderAddAttr(definition, "count: int");
    for (const char* output : outputs) TF_OpDefinitionBuilderAddOutput(definition, output);
    TF_OpDefinitionBuilderSetIsStateful(definition, true); // some write into what they are given
    TF_OpDefinitionBuilderSetShapeInferenceFunction(definition, &unknownShapes);
    TF_RegisterOpDefinition(definition, status);
    TF_RegisterKernelBuilder(name, TF_NewKernelBuilder(name, "CPU", &create, &compute, &destroy), status);
    TF_DeleteStatus(status);
  }

  static void* create(TF_OpKernelConstruction*) { return nullptr; }
  static void destroy(void*) {}
  static void unknownShapes(TF_ShapeInferenceContext* context, TF_Status* status) {
    TF_ShapeInferenceContextSetUnknownShape(context, status);
  }
  static void compute(void*, TF_OpKernelContext* context) {
    Call call(context);
    try {
      run(call);
    } catch (const std::exception& error) {
      call.fail(error.what());
    }
  }
};

}  // namespace search_e1
